"""Distances between predicted and true points."""

from __future__ import annotations

import numpy as np


def distances(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None) -> np.ndarray:
    """Euclidean distances (N,) in float64: between the halves of score (N, 2 d), or |target - prediction| where it has none."""
    if score is None or score.shape[1] == 0:
        return np.abs(target - prediction)
    predicted, true = np.split(score.astype(np.float64), 2, axis=1)
    found: np.ndarray = np.linalg.norm(predicted - true, axis=1)
    return found
