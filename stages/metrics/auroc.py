"""Area under the receiver operating characteristic."""

from __future__ import annotations

import numpy as np

from stages.common.errors import UserError
from stages.common.registry import part
from stages.metrics.core.ranking import sums_by_value

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


def of_weights(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """The same of samples that hold row i weights[r, i] times, weights (R, N) -> (R,). Not a number without scores."""
    if score is None:
        return np.full(len(weights), np.nan)
    present = np.unique(target)
    there = np.stack([(weights @ (target == c)) > 0 for c in present], axis=1)  # (R, C)
    if score.shape[1] == 2:
        return np.where(there.sum(1) < 2, np.nan, _weighted(target == 1, score[:, 1], weights))
    areas = np.stack([_weighted(target == c, score[:, int(c)], weights) for c in present], axis=1)
    return np.array([row[drawn].mean() if drawn.sum() > 1 else np.nan for row, drawn in zip(areas, there)])


def _weighted(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """_binary of each sample (R,); every number but the quotient is a multiple of a half, so sums are exact in any order."""
    counts, of_positive = sums_by_value(score, weights, positive)
    rank = np.cumsum(counts, axis=1) - (counts - 1) / 2
    p, n = of_positive.sum(1), counts.sum(1)
    return ((rank * of_positive).sum(1) - p * (p + 1) / 2) / (p * (n - p))


def _binary(positive: np.ndarray, score: np.ndarray) -> float:
    """positive (N,) bool, score (N,)."""
    _, codes, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    rank = last - (counts - 1) / 2  # mean rank, from 1, of the items that share a score
    p = int(positive.sum())
    return float((rank[codes[positive]].sum() - p * (p + 1) / 2) / (p * (len(positive) - p)))
