"""Text infilling: spans of a text's symbols are taken out, and one [MASK] stands for each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.symbols import SPECIAL
from stages.encoders.core.inputs import Padded
from stages.views.core import random
from stages.views.core.base import Key

_MASK, _END = SPECIAL.index("[MASK]"), SPECIAL.index("[SEP]")
_LENGTHS, _PLACES = 0x4C656E, 0x506C6163  # name the draws of how long spans are, and of where they lie
_LAST = (1 << 63) - 1  # sorts behind every draw


def infilled(x: Padded, key: Key, *, share: float, mean: float) -> Padded:
    """x (B, T): [CLS], n symbols, [SEP], then padding -> the same with spans hidden, and its lengths.

    Lewis et al. 2020, "BART", sec. 2.2. Lengths of spans are drawn from a Poisson distribution of `mean` until they make up
    b = max(1, round(share n)) symbols; the last is cut to fit. A span of no symbols puts a [MASK] between two, as long as there
    is room within T. All orders of the spans and of the n - b symbols that stay are equally likely, so spans do not overlap and
    may touch. Draws depend on (seed, epoch, sample). Raises UserError for a share or a mean out of range.
    """
    check(share, mean)
    symbols, t = x.x, x.x.shape[1]
    n = (x.lengths - 2).unsqueeze(1)  # (B, 1)
    wanted = torch.minimum((share * n).round().long().clamp_min(1), n)
    length, spans = _spans(random.uniform(_stream(key, _LENGTHS), t), wanted, mean, t - 2 - n)
    stay = n - length.sum(1, keepdim=True)
    place = torch.arange(t, device=symbols.device)
    draw = torch.where(place < stay + spans, random.bits(_stream(key, _PLACES), t), _LAST)
    rank = draw.argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    masked = rank < spans  # (B, T): of what is left, what stands for a span
    hides = torch.where(masked, length.gather(1, rank), 0)
    source = place - masked.long().cumsum(1) + hides.cumsum(1)  # of what stays: past the spans before it
    out = symbols.gather(1, (source + 1).clamp(0, t - 1))
    out = torch.where(masked, _MASK, out)
    out = torch.cat([symbols[:, :1], out[:, :-1]], 1)
    lengths = stay + spans + 2
    out = torch.where(place == lengths - 1, _END, out) * (place < lengths)
    return Padded(out, lengths.squeeze(1))


def check(share: float, mean: float, where: str = "span infilling") -> None:
    """Raises UserError for a share that is not between 0 and 1, or a mean length not above 0."""
    if not 0 < share < 1:
        raise UserError(f"the share of hidden symbols lies between 0 and 1, not at {share:g}", where=where)
    if not 0 < mean <= 100:
        raise UserError(f"spans have a mean length above 0 and up to 100, not {mean:g}", where=where)


def poisson(uniform: Tensor, mean: float) -> Tensor:
    """uniform (...) in [0, 1) -> whole numbers (...) of a Poisson distribution: the least k with P(0) + .. + P(k) above it."""
    mass, total = math.exp(-mean), [math.exp(-mean)]
    for k in range(1, 256):
        mass *= mean / k
        total.append(total[-1] + mass)
    edges = torch.tensor(total, dtype=torch.float64, device=uniform.device)
    return torch.searchsorted(edges, uniform.double(), right=True)


def _spans(uniform: Tensor, wanted: Tensor, mean: float, room: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths (B, T) of the spans that are used, first of all, then zeros; how many they are (B, 1).

    wanted (B, 1): symbols to hide. room (B, 1): padding beyond the item, which bounds the spans of no symbols.
    """
    length = poisson(uniform, mean)
    before = length.cumsum(1) - length
    length = torch.minimum(length, (wanted - before).clamp_min(0))
    hidden = length.sum(1, keepdim=True)
    filled = length > 0
    free = room + hidden - filled.sum(1, keepdim=True)  # what masks of hidden symbols leave
    empty = (length == 0) & (before < wanted)
    used = filled | (empty & (empty.long().cumsum(1) <= free))
    order = (~used).to(torch.uint8).argsort(dim=1, stable=True)
    return length.gather(1, order), used.sum(1, keepdim=True)


def _stream(key: Key, purpose: int) -> Tensor:
    return random.stream(key.seed, key.epoch, key.sample, purpose)
