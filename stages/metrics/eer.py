"""Equal error rate."""

from __future__ import annotations

import numpy as np

from stages.common.errors import UserError
from stages.common.registry import part
from stages.metrics.core.ranking import sums_by_value

LABEL, HIGHER_IS_BETTER = "class", False


@part
def eer(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None = None) -> float:
    """The error rate at which as large a share of class 1 is refused as of class 0 is accepted, by score[:, 1] of (N, 2).

    Accepted is what scores at or above a threshold. Between two thresholds in turn both shares change along a line, so items of
    equal scores, half refused, count half: all scores equal give 0.5. Verification trials: class 1 the same speaker, class 0
    another. Not a number where all targets are of one class. Raises UserError without the scores of two classes.
    """
    if score is None or score.shape[1] != 2:
        raise UserError(
            "eer needs the scores of two classes", where="metric eer", do="choose a label of two classes, or accuracy"
        )
    return equal_error_rate(score[target == 1, 1], score[target != 1, 1])


def equal_error_rate(same: np.ndarray, other: np.ndarray) -> float:
    """same (P,): scores to be accepted; other (Q,): scores to be refused. Not a number where there are none of either."""
    if not len(same) or not len(other):
        return float("nan")
    thresholds = np.unique(np.concatenate([same, other]))
    refused = np.append(np.searchsorted(np.sort(same), thresholds) / len(same), 1.0)  # of the same, below the threshold
    accepted = np.append(1 - np.searchsorted(np.sort(other), thresholds) / len(other), 0.0)
    after = int(np.argmax(refused >= accepted))  # the first threshold at which no more are accepted than refused
    gap = accepted - refused
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(refused[after - 1] + share * (refused[after] - refused[after - 1]))


def of_weights(target: np.ndarray, prediction: np.ndarray, score: np.ndarray | None, weights: np.ndarray) -> np.ndarray:
    """eer of samples that hold row i weights[r, i] times, weights (R, N) -> (R,). Not a number without scores of two classes.

    A threshold that is not in a sample repeats the shares at the next one that is, and so moves nothing.
    """
    if score is None or score.shape[1] != 2:
        return np.full(len(weights), np.nan)
    every, same = sums_by_value(score[:, 1], weights, target == 1)
    other = every - same
    p, q = same.sum(1, keepdims=True), other.sum(1, keepdims=True)
    refused = np.append((np.cumsum(same, axis=1) - same) / p, np.ones_like(p), axis=1)
    accepted = np.append(1 - (np.cumsum(other, axis=1) - other) / q, np.zeros_like(q), axis=1)
    after = np.argmax(refused >= accepted, axis=1)[:, None]
    gap_before, gap_after = (np.take_along_axis(accepted - refused, at, 1) for at in (after - 1, after))
    before, at = (np.take_along_axis(refused, at, 1) for at in (after - 1, after))
    rate = before + gap_before / (gap_before - gap_after) * (at - before)
    return np.where((p > 0) & (q > 0), rate, np.nan)[:, 0]
