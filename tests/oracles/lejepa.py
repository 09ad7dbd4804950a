"""Slow reference of LeJEPA's prediction: plain loops over items, dimensions and views."""

from __future__ import annotations

import numpy as np


def prediction(z: np.ndarray, first: int) -> float:
    """Mean over views, items and dimensions of the squared distance of z (V, N, D) to the mean of its `first` views."""
    views, items, dimensions = z.shape
    total = 0.0
    for i in range(items):
        for j in range(dimensions):
            target = sum(float(z[g, i, j]) for g in range(first)) / first
            for v in range(views):
                total += (target - float(z[v, i, j])) ** 2
    return total / (views * items * dimensions)
