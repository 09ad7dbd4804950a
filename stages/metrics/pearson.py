"""Pearson's correlation."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.moments import sums, varies

LABEL, HIGHER_IS_BETTER = "number", True


@part
def pearson(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Covariance over the product of standard deviations of target and prediction (N,); between -1 and 1.

    Not a number where either is all one value.
    """
    if len(target) < 2 or np.ptp(target) == 0 or np.ptp(prediction) == 0:
        return float("nan")
    t, p = target - target.mean(), prediction - prediction.mean()
    return float(np.clip(t @ p / (np.linalg.norm(t) * np.linalg.norm(p)), -1, 1))


def of_sums(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    t, p = target - target.mean(), prediction - prediction.mean()  # the samples' means are then near 0: little cancels below
    n, of_t, of_p, tt, pp, tp = sums(weights, t, p, t * t, p * p, t * p)
    tt, pp, tp = tt - of_t**2 / n, pp - of_p**2 / n, tp - of_t * of_p / n
    there = varies(target, tt / n, weights) & varies(prediction, pp / n, weights)
    return np.where(there, np.clip(tp / np.sqrt(tt * pp), -1, 1), np.nan)
