"""Sums over many samples at once."""

from __future__ import annotations

import numpy as np


def sums(weights: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each column (N,) its sum in each sample (R,), weights (R, N); first the samples' sizes. One pass over the weights."""
    return tuple((weights @ np.stack([np.ones(len(columns[0])), *columns], axis=1)).T)


def varies(a: np.ndarray, variance: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R,) bool: a (N,), of this variance (R,) in each sample, takes more than one value there."""
    found = variance > 1e-6 * a.var()  # what varies less is looked at value by value
    found[~found] = [np.ptp(a[w > 0]) > 0 for w in weights[~found]]
    return found
