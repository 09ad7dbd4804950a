"""Coefficient of determination."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.moments import sums, varies

LABEL, HIGHER_IS_BETTER = "number", True


@part
def r2(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """1 - sum (target - prediction)^2 / sum (target - mean target)^2; target and prediction (N,).

    1 is perfect, 0 is as good as the mean of these targets. Not a number where the targets are all one value.
    """
    if len(target) < 2 or np.ptp(target) == 0:
        return float("nan")
    return float(1 - np.sum((target - prediction) ** 2) / np.sum((target - target.mean()) ** 2))


def of_sums(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    t = target - target.mean()  # the samples' means are then near 0, and little cancels below
    n, first, second, left = sums(weights, t, t * t, (target - prediction) ** 2)
    around = second - first**2 / n
    return np.where(varies(target, around / n, weights), 1 - left / around, np.nan)
