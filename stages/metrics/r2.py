"""Coefficient of determination."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part

LABEL, HIGHER_IS_BETTER = "number", True


@part
def r2(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """1 - sum (target - prediction)^2 / sum (target - mean target)^2; target and prediction (N,).

    1 is perfect, 0 is as good as the mean of these targets. Not a number where the targets are all one value.
    """
    if len(target) < 2 or np.ptp(target) == 0:
        return float("nan")
    return float(1 - np.sum((target - prediction) ** 2) / np.sum((target - target.mean()) ** 2))
