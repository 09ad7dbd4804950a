"""Character error rate."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part
from stages.metrics.core.edits import rate_of_weights

LABEL, HIGHER_IS_BETTER = "text", False


@part
def cer(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Edits that turn target (N,) into prediction (N,), both texts, over all characters of the targets; it may exceed 1.

    Levenshtein's distance of characters: an insertion, deletion or substitution costs 1. Not a number where there are none.
    """
    from jiwer import cer as rate  # only where texts are judged

    if not any(text.strip() for text in target):
        return float("nan")
    return float(rate(list(target), list(prediction)))


def of_weights(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,)."""
    from jiwer import process_characters  # only where texts are judged

    return rate_of_weights(process_characters(list(target), list(prediction)), weights)
