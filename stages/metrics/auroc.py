"""Area under the receiver operating characteristic."""

from __future__ import annotations

import numpy as np

from stages.common.errors import UserError
from stages.common.registry import part

LABEL, HIGHER_IS_BETTER = "class", True


@part
def auroc(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """Probability that an item of a class scores above an item of another, ties counting half; score (N, C).

    Two classes: of class 1 by score[:, 1]. More: mean over the classes c that occur in target (N,), each against the rest by
    score[:, c] (macro, one against the rest). By ranks: (R - P (P + 1) / 2) / (P Q), R the rank sum of the P positives, Q the
    number of negatives: the Mann-Whitney statistic, Hanley and McNeil 1982, "The meaning and use of the area". Not a number
    where all targets are of one class. Raises UserError without scores.
    """
    if score is None:
        raise UserError("auroc needs class scores, and there are none", where="metric auroc", do="choose accuracy or macro_f1")
    present = np.unique(target)
    if len(present) < 2:
        return float("nan")
    if score.shape[1] == 2:
        return _binary(target == 1, score[:, 1])
    return float(np.mean([_binary(target == c, score[:, int(c)]) for c in present]))


def _binary(positive: np.ndarray, score: np.ndarray) -> float:
    """positive (N,) bool, score (N,)."""
    _, codes, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank = last - (counts - 1) / 2  # mean rank, from 1, of the items that share a score
    p = int(positive.sum())
    return float((rank[codes[positive]].sum() - p * (p + 1) / 2) / (p * (len(positive) - p)))
