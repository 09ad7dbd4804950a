"""95th percentile of the position error."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.points import distances

LABEL, HIGHER_IS_BETTER = "number", False


@part
def position_error_95(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """The smallest distance between predicted and true points that at least 95% of the rows do not exceed.

    In the unit of the coordinates; score as in `position_error`. Not a number where N is 0.
    """
    if not len(target):
        return float("nan")
    return float(np.quantile(distances(target, prediction, score), 0.95, method="inverted_cdf"))


def of_weights(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    distance = distances(target, prediction, score)
    order = np.argsort(distance, kind="stable")
    until = np.cumsum(weights[:, order], axis=1)
    place = np.maximum(np.ceil(until[:, -1] * 0.95 - 1), 0)  # of the n sorted rows of a sample, counted from 0
    return distance[order][np.argmax(until > place[:, None], axis=1)]
