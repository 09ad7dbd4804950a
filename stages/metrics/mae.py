"""Mean absolute error."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part

LABEL, HIGHER_IS_BETTER = "number", False


@part
def mae(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Mean of |target - prediction|, both (N,), in the label's unit. Not a number where N is 0."""
    return float(np.mean(np.abs(target - prediction))) if len(target) else float("nan")


def of_sums(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    return weights @ np.abs(target - prediction) / weights.sum(1)
