"""Balanced accuracy."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.confusion import confusion, mean_over

LABEL, HIGHER_IS_BETTER = "class", True


@part
def balanced_accuracy(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Mean recall over the classes that occur in target (N,); prediction (N,). Brodersen et al. 2010, "The balanced accuracy",
    extended to many classes. Not a number where N is 0."""
    return float(of_counts(confusion(target, prediction))) if len(target) else float("nan")


def of_counts(counts: np.ndarray) -> np.ndarray:
    """The same from confusion matrices (..., C, C) -> (...)."""
    support = counts.sum(-1)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return mean_over(right / np.where(support > 0, support, 1), support > 0)
