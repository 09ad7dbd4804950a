"""k-means: discrete units of frames. Lloyd's algorithm from k-means++ starts, by torch's generator alone."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = 16_384  # rows whose distances to all centres are held at once


def nearest(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """x (M, D), centres (K, D) -> the nearest centre (M,) int64, the first of equal ones, and its squared distance (M,)."""
    unit, squared = [], []
    norms = centres.square().sum(1)
    for part in x.split(_BLOCK):
        distance = norms - 2 * (part @ centres.T)
        least = distance.min(1)
        unit.append(least.indices)
        squared.append((least.values + part.square().sum(1)).clamp_min(0))
    return torch.cat(unit), torch.cat(squared)


def spread(x: Tensor, count: int) -> Tensor:
    """`count` rows of x (M, D), each drawn with a probability in proportion to its squared distance from those before it.

    Arthur and Vassilvitskii 2007, "k-means++: the advantages of careful seeding", sec. 2.2.
    """
    chosen = [x[int(torch.randint(len(x), ()))]]
    _, squared = nearest(x, chosen[0][None])
    for _ in range(count - 1):
        mass = squared.double().cumsum(0)
        at = int(torch.searchsorted(mass, torch.rand((), dtype=torch.float64).to(mass.device) * mass[-1], right=True))
        chosen.append(x[min(at, len(x) - 1)])
        squared = torch.minimum(squared, nearest(x, chosen[-1][None])[1])
    return torch.stack(chosen)


def k_means(x: Tensor, count: int, rounds: int = 30) -> Tensor:
    """Centres (count, D) of x (M, D), M >= count, after `rounds` of Lloyd 1982 or when no row changes its centre.

    A centre that loses all its rows stays where it is. Equal generators give equal centres.
    """
    centres = spread(x, count)
    before = None
    for _ in range(rounds):
        unit, _ = nearest(x, centres)
        if before is not None and torch.equal(unit, before):
            break
        total = torch.zeros_like(centres).index_add_(0, unit, x)
        rows = torch.bincount(unit, minlength=count).unsqueeze(1)
        centres, before = torch.where(rows > 0, total / rows.clamp_min(1), centres), unit
    return centres
