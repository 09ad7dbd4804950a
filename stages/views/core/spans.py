"""Random spans of a sequence, such as those that masked prediction hides."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.views.core import random

_LAST = (1 << 63) - 1  # sorts behind every draw
_ROUNDING = 0x726F756E64  # names the draw by which a number of spans is rounded


def spans(state: Tensor, own: Tensor, *, probability: float, length: int, least: int = 1) -> Tensor:
    """(B, N) bool: True where one of an item's spans lies. state (B,): streams; own (B, N) bool: where its own steps lie.

    A share `probability` of the n own steps, rounded up or down at random, `least` at least, is drawn without replacement from
    the n - length + 1 where a span fits; each starts `length` steps, and spans may overlap (Baevski et al. 2020, "wav2vec 2.0",
    sec. 3.1 and 4.2). So about 1 - (1 - probability)^length of a long item is covered. An item of `length` steps or fewer is
    covered whole. Own steps come first. Raises UserError for a probability beyond 0 to 1 or a length below 1.
    """
    check(probability, length)
    n = own.sum(1, keepdim=True)  # (B, 1)
    fits = (n - length + 1).clamp_min(1)
    rounding = random.uniform(random.stream(state, _ROUNDING), 1)
    count = (probability * n + rounding).long().clamp_min(least)
    place = torch.arange(own.shape[1], device=own.device)
    # the `count` smallest of one draw for each step where a span fits
    draw = torch.where(place < fits, random.bits(state, own.shape[1]), _LAST)
    rank = draw.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    started = ((rank < count) & (place < fits) & own).long().cumsum(1)
    before = torch.nn.functional.pad(started, (length, 0))[:, : own.shape[1]]  # spans that are over
    return (started > before) & own


def check(probability: float, length: int, where: str = "spans") -> None:
    """Raises UserError for a probability beyond 0 to 1 or a length below 1."""
    if not 0 <= probability <= 1:
        raise UserError(f"the share of steps that start a span lies between 0 and 1, not at {probability:g}", where=where)
    if length < 1:
        raise UserError(f"a span has 1 step or more, not {length}", where=where)
