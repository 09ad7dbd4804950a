"""Frames replaced by the mean of their nearest frames among a speaker's references."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.measures.core.neighbours import nearest

_ROWS = 8192  # queries whose neighbours are averaged at once


def matched(queries: Tensor, references: Tensor, *, k: int = 4, apart: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """queries (Q, D), references (N, D) -> (Q, D): the plain mean of each query's k nearest references by cosine distance.

    Baas, van Niekerk and Kamper 2023, "Voice conversion with just nearest neighbors", sec. 3.1. Of references equally near, the
    first is taken. apart: the utterance of each query (Q,) and of each reference (N,): one of its own utterance is not taken.
    Raises UserError where a query has fewer than k references.
    """
    least = len(references) if apart is None else _least(*apart)
    if k < 1 or least < k:
        raise UserError(
            f"k = {k} nearest of {least} reference frames", where="frame matching", do="lower k, or give more speech"
        )
    rows = nearest(references, queries, k, apart=apart)[1]
    return torch.cat([references[part].mean(1) for part in rows.split(_ROWS)])


def prematched(x: Tensor, item: Tensor, speaker: Tensor, *, k: int = 4) -> Tensor:
    """x (N, D) -> (N, D): every frame matched among the frames of its speaker's other utterances (sec. 3.2).

    item (N,): each frame's utterance; speaker (N,): who speaks. Raises UserError for a speaker of too little speech.
    """
    out = torch.empty_like(x)
    for one in speaker.unique():
        own = speaker == one
        out[own] = matched(x[own], x[own], k=k, apart=(item[own], item[own]))
    return out


def _least(queries: Tensor, references: Tensor) -> int:
    """References beyond a query's own utterance, at least."""
    names, counts = references.unique(return_counts=True)
    at = torch.searchsorted(names, queries.unique()).clamp_max(len(names) - 1)
    own = torch.where(names[at] == queries.unique(), counts[at], 0)
    return len(references) - int(own.max())
