"""What lies behind a task's features: the media of the corpus, its other columns, and the encoder, for heads that read them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.common import media
from stages.common.corpus import Column, Corpus
from stages.common.errors import UserError
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder, EncoderCard

_ROWS = 1024


@dataclass(frozen=True)
class Decoded:
    """Media as an encoder's front end takes them: data (N, ...), lengths (N,) or None, on the device."""

    data: Tensor
    lengths: Tensor | None

    def __len__(self) -> int:
        return len(self.data)

    def at(self, index: Tensor) -> Decoded:
        return Decoded(self.data[index], None if self.lengths is None else self.lengths[index])

    def batches(self, rows: int) -> Iterator[Decoded]:
        for start in range(0, len(self), rows):
            yield self.at(torch.arange(start, min(start + rows, len(self)), device=self.data.device))


class Material:
    """The corpus in `corpus`, and the encoder of one seed in `folder` (None: the task names none), on `device`."""

    def __init__(self, corpus: Path, folder: Path | None, seed: int, device: torch.device) -> None:
        self.folder, self.seed, self.device = folder, seed, device
        self.corpus = Corpus(corpus)

    def encoder(self) -> Encoder:
        """A new copy of the encoder, in eval mode, at its pretrained weights. Raises UserError where the task names none."""
        return encoders.load(self._seed(), self.device)[0]

    def card(self) -> EncoderCard:
        """What the encoder's card says of it: its parts, corpus, steps and last figures. Raises UserError as `encoder` does."""
        return encoders.load_card(self._seed())

    @functools.cached_property
    def column(self) -> Column:
        """The media column that the encoder takes. Raises ContractError where it does not fit the encoder."""
        card = self.card()
        same = any(c.name == card.column.name and c.role == "media" for c in self.corpus.card.columns)
        column = self.corpus.card.media(card.column.name if same else None)
        encoders.fits(card, column, f"corpus {self.corpus.card.name}")
        return column

    def media(self, ids: np.ndarray, contract: dict[str, Any]) -> Decoded:
        """The encoder's media of the items `ids` (N,), in that order, as a front end's contract wants them."""
        stored = self._stored(self.column.name, ids)
        parts = [media.decode(stored.slice(i, _ROWS), self.column, contract) for i in range(0, len(ids), _ROWS)]
        data = torch.from_numpy(np.concatenate([p.data for p in parts])).to(self.device)
        lengths = [p.lengths for p in parts if p.lengths is not None]
        return Decoded(data, torch.from_numpy(np.concatenate(lengths)).to(self.device) if lengths else None)

    def values(self, name: str, ids: np.ndarray) -> list[Any]:
        """Any column's values of the items `ids` (N,), as stored, in that order. Raises UserError for an unknown column."""
        found: list[Any] = self._stored(self.corpus.card.column(name).name, ids).to_pylist()
        return found

    def _stored(self, name: str, ids: np.ndarray) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        place = pc.index_in(pa.array(ids, pa.string()), value_set=self._ids)
        if place.null_count:
            raise UserError(f"{place.null_count} items are not in the corpus", where=self.corpus.folder, do="extract again")
        return self._column(name).take(place)

    @functools.cached_property
    def _ids(self) -> Any:
        return self.corpus.table(["id"])["id"].combine_chunks()

    @functools.lru_cache(maxsize=2)  # noqa: B019  it lives as long as one problem
    def _column(self, name: str) -> Any:
        return self.corpus.table([name])[name].combine_chunks()

    def _seed(self) -> Path:
        if self.folder is None:
            raise UserError(
                "this head needs the encoder itself", where="support", do="write `support: encoders/<name>` in the task"
            )
        found = encoders.seeds(self.folder)
        if self.seed not in found and len(found) != 1:
            raise UserError(f"the encoder has no seed {self.seed}", where=self.folder, do=f"choose among its seeds {found}")
        return self.folder / f"seed={self.seed if self.seed in found else found[0]}"
