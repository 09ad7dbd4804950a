"""Root mean squared error."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part

LABEL, HIGHER_IS_BETTER = "number", False


@part
def rmse(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Root of the mean of (target - prediction)^2, both (N,), in the label's unit. Not a number where N is 0."""
    return float(np.sqrt(np.mean((target - prediction) ** 2))) if len(target) else float("nan")


def of_sums(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    return np.sqrt(weights @ (target - prediction) ** 2 / weights.sum(1))
