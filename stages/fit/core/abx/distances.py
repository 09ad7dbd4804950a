"""Distances between frames, each between all of one set and all of another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.common.errors import ContractError

_FLOOR = 1e-10  # of a probability, where its logarithm is taken
_ROUNDING = 16  # units of the last place that a cosine may be off by
_SUMS = 1e-3  # by which a row of probabilities may miss 1


@dataclass(frozen=True)
class Distance:
    """prepare: frames (M, D) -> (M, E) of the same precision, once for all. between: (n, E), (m, E) -> (n, m).

    symmetric: d(u, v) = d(v, u), so that a pair of items is compared once, whichever of them is the X.
    """

    prepare: Callable[[Tensor], Tensor]
    between: Callable[[Tensor, Tensor], Tensor]
    symmetric: bool = True


def _unit(frames: Tensor) -> Tensor:
    return normalize(frames, dim=1)


def _angular(u: Tensor, v: Tensor) -> Tensor:
    """arccos(cos(u, v)) / pi, from 0 to 1; 0.5 where one of them is 0.

    The cosine is raised by some units of rounding: arccos is so steep at 1 that equal frames would else lie apart.
    """
    return (u @ v.T).add_(_ROUNDING * torch.finfo(u.dtype).eps).clamp_(-1, 1).acos_().div_(math.pi)


def _euclidean(u: Tensor, v: Tensor) -> Tensor:
    """|u - v|, by differences: the expansion into products would lose what is nearly equal."""
    return torch.cdist(u, v, compute_mode="donot_use_mm_for_euclid_dist")


def _probabilities(frames: Tensor) -> Tensor:
    wrong = (frames < 0).any(1) | ((frames.sum(1) - 1).abs() > _SUMS)
    if wrong.any():
        raise ContractError(
            f"{int(wrong.sum())} of {len(frames)} rows are no probabilities",
            where="distance kl",
            do="extract posteriors, or choose the distance angular",
        )
    return frames


def _kl(u: Tensor, v: Tensor) -> Tensor:
    """KL(u || v) = sum u log(u / v), u of the A or B, v of the X; logarithms of 1e-10 at least."""
    entropy = (u * u.clamp_min(_FLOOR).log()).sum(1, keepdim=True)
    return entropy - u @ v.clamp_min(_FLOOR).log().T


def _codes(frames: Tensor) -> Tensor:
    return torch.unique(frames, dim=0, return_inverse=True)[1].to(frames.dtype).unsqueeze(1)


def _identical(u: Tensor, v: Tensor) -> Tensor:
    """0 where two frames are the same in all their numbers, else 1: for discrete units."""
    return (u != v.T).to(u.dtype)


def _as_it_is(frames: Tensor) -> Tensor:
    return frames


DISTANCES = {
    "angular": Distance(_unit, _angular),
    "euclidean": Distance(_as_it_is, _euclidean),
    "kl": Distance(_probabilities, _kl, symmetric=False),
    "identical": Distance(_codes, _identical),
}
