"""Pearson's correlation."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part

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
