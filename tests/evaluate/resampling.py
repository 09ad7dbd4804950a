"""The bootstrap over items by plain loops, an oracle for stages/evaluate/bootstrap.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stages.common.tasks import Predictions
from stages.evaluate.bootstrap import counts


def resampled_metric(metric: Callable[..., float], seeds: Sequence[Predictions], draws: int) -> np.ndarray:
    """Builds each drawn table row by row; only the draws themselves (how often each item) are taken from the code tested."""
    ids = sorted({str(i) for p in seeds for i in p.ids})
    how_often = np.concatenate(list(counts(len(ids), draws)))
    means = []
    for drawn in how_often:
        values = []
        for p in seeds:
            rows = [r for i, times in zip(ids, drawn) for _ in range(int(times)) for r in range(len(p.ids)) if p.ids[r] == i]
            score = None if p.score is None else np.array([p.score[r] for r in rows])
            values.append(
                metric(np.array([p.target[r] for r in rows]), np.array([p.prediction[r] for r in rows]), score),
            )
        means.append(sum(values) / len(values))
    return np.array(means)
