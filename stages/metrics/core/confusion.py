"""Counts of target against prediction, from which the per-class metrics follow."""

from __future__ import annotations

import numpy as np


def confusion(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """(C, C) counts over the C classes that occur in target (N,) or prediction (N,): rows target, columns prediction."""
    classes, codes = np.unique(np.concatenate([target, prediction]), return_inverse=True)
    size, n = len(classes), len(target)
    return np.bincount(codes[:n] * size + codes[n:], minlength=size * size).reshape(size, size)


def mean_over(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Mean over the classes (..., C) that are there -> (...)."""
    return (values * there).sum(-1) / there.sum(-1)
