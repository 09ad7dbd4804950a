"""Accuracy."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part

LABEL, HIGHER_IS_BETTER = "class", True


@part
def accuracy(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Share of items whose prediction (N,) is their target (N,). Not a number where N is 0."""
    return float(np.mean(target == prediction)) if len(target) else float("nan")
