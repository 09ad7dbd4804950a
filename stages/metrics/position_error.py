"""Mean position error."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.points import distances

LABEL, HIGHER_IS_BETTER = "number", False


@part
def position_error(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Mean Euclidean distance between predicted and true points, in the unit of the coordinates. Not a number where N is 0.

    score (N, 2 d): the d predicted coordinates, then the d true ones; without it target and prediction (N,) lie on a line.
    """
    return float(np.mean(distances(target, prediction, score))) if len(target) else float("nan")


def of_sums(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    return weights @ distances(target, prediction, score) / weights.sum(1)
