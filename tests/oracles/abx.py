"""ABX by three loops over items, with dynamic time warping in plain Python: nothing shared, nothing saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

Item = dict[str, Any]  # frames (T, D), and a value by the name of each attribute
TIE = 1e-9


def angular(u: np.ndarray, v: np.ndarray) -> float:
    u, v = u / (np.linalg.norm(u) or 1.0), v / (np.linalg.norm(v) or 1.0)
    if not u.any() or not v.any():
        return 0.5
    return 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v))) / math.pi


def euclidean(u: np.ndarray, v: np.ndarray) -> float:
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(u, v, strict=True)))


def kl(u: np.ndarray, v: np.ndarray) -> float:
    return sum(float(a) * (math.log(max(float(a), 1e-10)) - math.log(max(float(b), 1e-10))) for a, b in zip(u, v, strict=True))


def identical(u: np.ndarray, v: np.ndarray) -> float:
    return float(any(a != b for a, b in zip(u, v, strict=True)))


DISTANCES = {"angular": angular, "euclidean": euclidean, "kl": kl, "identical": identical}


def warp(cost: list[list[float]]) -> float:
    """The summed cost of the cheapest path over the length of the path, traced back: diagonal first, then left, then up."""
    height, width = len(cost), len(cost[0])
    total = [[0.0] * width for _ in range(height)]
    for i, j in product(range(height), range(width)):
        before = [total[p][q] for p, q in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p >= 0 and q >= 0]
        total[i][j] = cost[i][j] + min(before, default=0.0)
    i, j, steps = height - 1, width - 1, 1
    while i or j:
        ways = [(p, q) for p, q in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p >= 0 and q >= 0]
        least = min(total[p][q] for p, q in ways)
        i, j = next((p, q) for p, q in ways if total[p][q] <= least + TIE)  # the first of equal ones
        steps += 1
    return total[-1][-1] / steps


def compared(a: Item, x: Item, distance: str, swap: bool) -> float:
    """d(a, x); of a symmetric distance the two may change places, which decides what is left and what is up."""
    first, second = (x, a) if swap else (a, x)
    return warp([[DISTANCES[distance](u, v) for v in second["frames"]] for u in first["frames"]])


def cells(
    items: Sequence[Item], on: str, by: Sequence[str], across: Sequence[str], distance: str, swap: Callable[[int, int], bool]
) -> dict[tuple[Any, ...], tuple[float, int]]:
    """{(a's on, b's on, by, a's across, x's across): (error, triples)}."""
    scores: dict[tuple[Any, ...], list[float]] = {}
    for (i, a), (j, b), (k, x) in product(enumerate(items), repeat=3):
        if i == k or a[on] != x[on] or b[on] == x[on] or any(not a[c] == b[c] == x[c] for c in by):
            continue
        if any(a[c] != b[c] or x[c] == a[c] for c in across):
            continue
        da, db = compared(a, x, distance, swap(i, k)), compared(b, x, distance, swap(j, k))
        right = 0.5 if abs(da - db) <= TIE * max(1.0, abs(db)) else float(da < db)
        key = (a[on], b[on], tuple(a[c] for c in by), tuple(a[c] for c in across), tuple(x[c] for c in across))
        scores.setdefault(key, []).append(right)
    return {key: (1 - sum(found) / len(found), len(found)) for key, found in scores.items()}


def hierarchical(found: dict[tuple[Any, ...], tuple[float, int]]) -> float:
    """Means over by (column by column), over x's across, over a's across, over pairs of `on`, each unweighted."""
    level = {(*by, x, ab, a, b): error for (a, b, by, ab, x), (error, _) in found.items()}
    while len(next(iter(level))) > 2:
        rest: dict[tuple[Any, ...], list[float]] = {}
        for key, error in level.items():
            rest.setdefault(key[1:], []).append(error)
        level = {key: sum(errors) / len(errors) for key, errors in rest.items()}
    return sum(level.values()) / len(level)


def weighted(found: dict[tuple[Any, ...], tuple[float, int]]) -> float:
    return sum(error * n for error, n in found.values()) / sum(n for _, n in found.values())
