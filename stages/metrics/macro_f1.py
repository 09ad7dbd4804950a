"""F1, averaged over classes."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.confusion import confusion, mean_over

LABEL, HIGHER_IS_BETTER = "class", True


@part
def macro_f1(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Mean over the classes that occur in target (N,) or prediction (N,) of F1 = 2 TP / (2 TP + FP + FN).

    Not a number where N is 0.
    """
    return float(of_counts(confusion(target, prediction))) if len(target) else float("nan")


def of_counts(counts: np.ndarray) -> np.ndarray:
    """The same from confusion matrices (..., C, C) -> (...)."""
    seen = counts.sum(-1) + counts.sum(-2)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return mean_over(2 * right / np.where(seen > 0, seen, 1), seen > 0)
