"""Weights by value: what metrics of the order of scores need of many samples at once."""

from __future__ import annotations

import numpy as np


def sums_by_value(value: np.ndarray, weights: np.ndarray, marked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of value (N,) and weights (R, N): the weight of each different value, rising, (R, U), and that of its marked rows."""
    order = np.argsort(value, kind="stable")
    ranked = value[order]
    first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    drawn = weights[:, order]
    of_marked = drawn * marked[order]
    if len(first) == len(value):
        return drawn, of_marked
    return np.add.reduceat(drawn, first, axis=1), np.add.reduceat(of_marked, first, axis=1)
