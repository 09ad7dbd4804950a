"""Character error rate."""

from __future__ import annotations

import numpy as np

from stages.common.registry import part

LABEL, HIGHER_IS_BETTER = "text", False


@part
def cer(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Edits that turn the texts target (N,) into prediction (N,), over all characters of the targets; insertions may lift it above 1.

    Levenshtein distance of characters (insertions, deletions and substitutions cost 1). Not a number where the targets hold none.
    """
    from jiwer import cer as rate  # only where texts are judged

    if not any(text.strip() for text in target):
        return float("nan")
    return float(rate(list(target), list(prediction)))
