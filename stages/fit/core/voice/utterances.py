"""Recordings with the frames that an encoder made of them, and which of them serve for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import ContractError, UserError
from stages.encoders.core.wave import level, samples_in_unit_range
from stages.fit.core import shares
from stages.fit.core.head import Rows
from stages.fit.core.material import Material
from stages.fit.core.voice.spectrum import LEVEL


@dataclass(frozen=True)
class Utterances:
    """I recordings: ids, speaker, content (I,) of text; wave (I, T) at one level, its own samples (I,), zeros beyond.

    x (N, D): their frames one recording after another, counts (I,) of each.
    """

    ids: np.ndarray
    speaker: np.ndarray
    content: np.ndarray
    wave: Tensor
    samples: Tensor
    x: Tensor
    counts: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def item(self) -> Tensor:
        """(N,): the recording of each frame, from 0."""
        return torch.arange(len(self), device=self.x.device).repeat_interleave(self.counts)

    def speakers(self, names: list[str]) -> Tensor:
        """(I,): the place of each one's speaker among `names`."""
        return torch.tensor([names.index(s) for s in self.speaker], device=self.x.device)

    def at(self, index: np.ndarray) -> Utterances:
        """The recordings at `index` (M,), in that order."""
        place = torch.from_numpy(np.asarray(index, np.int64)).to(self.x.device)
        rows = span(self.counts.cumsum(0) - self.counts, self.counts, place)
        return Utterances(
            self.ids[index],
            self.speaker[index],
            self.content[index],
            self.wave[place],
            self.samples[place],
            self.x[rows],
            self.counts[place],
        )


def span(start: Tensor, counts: Tensor, place: Tensor) -> Tensor:
    """The rows start[p] .. start[p] + counts[p] - 1 for each p of place (M,), one after another."""
    of = counts[place]
    first = (of.cumsum(0) - of).repeat_interleave(of)
    within = torch.arange(int(of.sum()), device=counts.device) - first
    return start[place].repeat_interleave(of) + within


def utterances(rows: Rows, material: Material, contract: dict[str, Any], speaker: str, content: str) -> Utterances:
    """The recordings behind a split's frame rows, ordered by id; each has zero mean and a root mean square of LEVEL.

    contract: of the encoder's front end. speaker, content: columns of the corpus. Raises UserError for one of which values are
    missing, ContractError for media that are no waveform.
    """
    names, item = np.unique(rows.ids.astype(str), return_inverse=True)
    order = torch.from_numpy(np.lexsort((rows.index, item))).to(rows.x.device)
    if contract.get("kind") != "waveform":
        raise ContractError("voice conversion needs an encoder of waveforms", where="support", do="name one of speech")
    media = material.media(names, contract)
    samples = media.lengths
    if samples is None:
        samples = torch.full((len(media),), media.data.shape[1], device=media.data.device)
    columns = {}
    for column in (speaker, content):
        values = material.values(column, names)
        if any(value is None for value in values):
            raise UserError(f"column {column!r} has no value for some recordings", where="head voice_conversion")
        names_of = material.corpus.card.column(column).classes  # a class is stored as its number
        columns[column] = np.array([str(value) if names_of is None else names_of[value] for value in values])
    counts = torch.from_numpy(np.bincount(item)).to(rows.x.device)
    wave = LEVEL * level(samples_in_unit_range(media.data), samples)
    return Utterances(names, columns[speaker], columns[content], wave, samples, rows.x[order], counts)


def ranks(of: Utterances) -> tuple[np.ndarray, np.ndarray]:
    """(I,): each one's place, from 0, among those of its speaker and content, by a hash of the id; and how many these are."""
    cell = np.unique(np.stack([of.speaker, of.content]), axis=1, return_inverse=True)[1].reshape(-1)
    count = np.bincount(cell)
    order = np.lexsort((shares.draws(shares.keys(of.ids.tolist()), 0), cell))
    rank = np.empty(len(of), np.int64)
    rank[order] = np.arange(len(of)) - (np.cumsum(count) - count)[cell[order]]
    return rank, count[cell]


def reference_frames(pool: Utterances, rows: int, seed: int) -> Tensor:
    """(rows, D): the first frames of one speaker's recordings in the order of a draw by `seed`; fewer lie among more.

    Raises UserError where the pool has fewer.
    """
    if int(pool.counts.sum()) < rows:
        raise UserError(
            f"speaker {pool.speaker[0]!r} has {int(pool.counts.sum())} reference frames, {rows} are asked for",
            where="head voice_conversion.seconds",
            do="ask for fewer seconds, or let the judges and sources take fewer recordings",
        )
    order = np.argsort(shares.draws(shares.keys(pool.ids.tolist()), seed), kind="stable")
    return pool.at(order).x[:rows]
