"""Percentile bootstrap over test items (Efron and Tibshirani 1993, ch. 13) of a metric's mean over seeds.

An item is an `id`: the rows of one id (frames, tokens) are drawn together, since they are not independent. All seeds and, in
a comparison, both tasks are judged on the same drawn items, so what they share cancels. The interval speaks of the choice of
test items; the spread over seeds is reported beside it, not mixed in.

A metric that is a mean over rows (accuracy, squared error) is recognised by calculation, see `row_values`, and then costs
one matrix product; so does one that can be had from confusion matrices (its module has `of_counts`: balanced accuracy, F1).
Others get LOOP_DRAWS draws: the number is part of their committed intervals. One whose module judges many samples at once, to
the last digit (`of_weights`: AUROC, equal error rate, error rates of texts, percentiles), is asked that. One that is a function
of sums (`of_sums`: R2, RMSE, Pearson) is above _SINGLES rows; below, intervals stay as they are to the last digit. The rest is
evaluated once per draw and seed.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stages.common.errors import UserError
from stages.common.tasks import Predictions

DRAWS = 1000
LOOP_DRAWS = 200
LEVEL = 0.95
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
_BLOCK = 4_000_000  # counts drawn at once: bounds memory at about 32 MB
_CACHED = 16_000_000  # counts kept for the next metric over as many items: 128 MB
_CELLS = 1_024  # most cells of a confusion matrix that is kept for each item: 32 classes
_SINGLES = 20_000  # most single-row calls spent to recognise a mean


@dataclass(frozen=True)
class Interval:
    """low and high bound the middle `level` of `draws` draws."""

    low: float
    high: float
    draws: int


def interval(replicates: np.ndarray, level: float = LEVEL) -> Interval | None:
    """The percentile interval of replicates (R,); None where the metric was undefined on more than half of the draws."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) * 2 < max(len(replicates), 1):
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(defined, [tail, 100 - tail])
    return Interval(float(low), float(high), len(replicates))


def replicates(metric: Metric, seeds: Sequence[Predictions], draws: int | None = None, seed: int = 0) -> np.ndarray:
    """The metric's mean over seeds on each draw of items, (R,).

    Draw r of a given number of items is the same for every caller, so replicates of two tasks over the same ids may be
    subtracted. draws: default DRAWS, or LOOP_DRAWS where the metric is no mean over rows. Raises UserError without rows.
    """
    if not seeds or not all(len(p.ids) for p in seeds):
        raise UserError("there are no predictions to resample")
    ids = np.unique(np.concatenate([p.ids.astype(str) for p in seeds]))
    item = [np.searchsorted(ids, p.ids.astype(str)) for p in seeds]
    module = sys.modules[metric.__module__]
    from_counts, from_weights, from_sums = (getattr(module, f"of_{n}", None) for n in ("counts", "weights", "sums"))
    if from_counts is not None:
        tables = [_confusions(p, i, len(ids)) for p, i in zip(seeds, item)]
        if all(t.shape[1] <= _CELLS for t in tables):
            return _from_counts(from_counts, tables, len(ids), draws or DRAWS, seed)
    values = [row_values(metric, p) for p in seeds]
    means = [v for v in values if v is not None]
    if len(means) == len(seeds):
        return _means(means, item, len(ids), draws or DRAWS, seed)
    if from_weights is not None and all(p.score is None or np.isfinite(p.score).all() for p in seeds):
        with contextlib.suppress(ArithmeticError, LookupError, UserError, ValueError):  # then draw by draw, as it stands
            return _from_weights(from_weights, seeds, item, len(ids), draws or LOOP_DRAWS, seed)
    if from_sums is not None and max(len(p.ids) for p in seeds) > _SINGLES:
        return _from_weights(from_sums, seeds, item, len(ids), draws or LOOP_DRAWS, seed)
    return _loop(metric, seeds, item, len(ids), draws or LOOP_DRAWS, seed)


def _confusions(p: Predictions, item: np.ndarray, n: int) -> np.ndarray:
    """Each item's own confusion matrix, flattened: (n, C * C) counts of target against prediction over its rows."""
    classes, codes = np.unique(np.concatenate([p.target, p.prediction]), return_inverse=True)
    cells = len(classes) ** 2
    if cells > _CELLS:
        return np.empty((0, cells))
    cell = codes[: len(p.ids)] * len(classes) + codes[len(p.ids) :]
    return np.bincount(item * cells + cell, minlength=n * cells).reshape(n, cells).astype(float)


def _from_counts(
    of_counts: Callable[[np.ndarray], np.ndarray], tables: Sequence[np.ndarray], n: int, draws: int, seed: int
) -> np.ndarray:
    found = []
    for drawn in counts(n, draws, seed):
        shapes = [(len(drawn), round(t.shape[1] ** 0.5), round(t.shape[1] ** 0.5)) for t in tables]
        found.append(np.mean([of_counts((drawn @ t).reshape(s)) for t, s in zip(tables, shapes)], axis=0))
    return np.concatenate(found)


def _from_weights(
    judge: Callable[..., np.ndarray], seeds: Sequence[Predictions], item: Sequence[np.ndarray], n: int, draws: int, seed: int
) -> np.ndarray:
    found = []
    rows = max(1, _BLOCK // max(len(i) for i in item))
    as_drawn = [np.array_equal(i, np.arange(n)) for i in item]  # a row an item, in order: nothing to look up
    with np.errstate(all="ignore"):
        for block in counts(n, draws, seed):
            for start in range(0, len(block), rows):
                drawn = block[start : start + rows]
                weights = [drawn if same else drawn[:, i] for i, same in zip(item, as_drawn)]
                judged = [judge(p.target, p.prediction, p.score, w) for p, w in zip(seeds, weights)]
                found.append(np.stack(judged, axis=1).mean(axis=1))
    return np.concatenate(found)


def _means(values: Sequence[np.ndarray], item: Sequence[np.ndarray], n: int, draws: int, seed: int) -> np.ndarray:
    sums = np.stack([np.bincount(i, v, n) for i, v in zip(item, values)], axis=1)  # (items, seeds)
    rows = np.stack([np.bincount(i, minlength=n) for i in item], axis=1).astype(float)
    with np.errstate(invalid="ignore"):
        return np.concatenate([(c @ sums / (c @ rows)).mean(axis=1) for c in counts(n, draws, seed)])


def _loop(
    metric: Metric, seeds: Sequence[Predictions], item: Sequence[np.ndarray], n: int, draws: int, seed: int
) -> np.ndarray:
    found = []
    for block in counts(n, draws, seed):
        for drawn in block.astype(np.int64):
            rows = [np.repeat(np.arange(len(i)), drawn[i]) for i in item]
            found.append(np.mean([evaluate(metric, _take(p, r)) for p, r in zip(seeds, rows)]))
    return np.array(found)


def counts(n: int, draws: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each of n items is in each draw, as blocks (B, n) of float64; rows add up to n."""
    if n * draws <= _CACHED:
        return iter(_cached(n, draws, seed))
    return _blocks(n, draws, seed)


@functools.lru_cache(maxsize=2)
def _cached(n: int, draws: int, seed: int) -> list[np.ndarray]:
    return list(_blocks(n, draws, seed))


def _blocks(n: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng([seed, n])
    size = max(1, _BLOCK // n)
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.reshape(-1), minlength=rows * n).reshape(rows, n).astype(np.float64)


def evaluate(metric: Metric, p: Predictions) -> float:
    """The metric on these rows; NaN where it is undefined for them (one class only, no variance)."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return float(metric(p.target, p.prediction, p.score))
        except (ArithmeticError, LookupError, UserError, ValueError):
            return float("nan")


def row_values(metric: Metric, p: Predictions) -> np.ndarray | None:
    """Values (N,) per row whose mean over any rows is the metric on those rows; None where there are no such values.

    The value of a row is the metric on that row alone. That the metric is their mean is checked on rows drawn at random and on
    all; balanced accuracy or F1 fail there, AUROC is undefined on a row. Equal rows are evaluated once.
    """
    rng = np.random.default_rng(0)
    some = rng.integers(0, len(p.ids), min(64, len(p.ids)))
    if not _is_mean(metric, _take(p, some)):
        return None
    values = _singles(metric, p)
    if values is None or not np.isclose(values.mean(), evaluate(metric, p), rtol=1e-6, atol=1e-9):
        return None
    return values


def _is_mean(metric: Metric, p: Predictions) -> bool:
    values = _singles(metric, p)
    return values is not None and bool(np.isclose(values.mean(), evaluate(metric, p), rtol=1e-6, atol=1e-9))


def _singles(metric: Metric, p: Predictions) -> np.ndarray | None:
    columns = [_numbers(p.target), _numbers(p.prediction)]
    plain = Predictions(p.seed, p.slice, p.ids, p.target, p.prediction)
    if p.score is not None and evaluate(metric, plain) != evaluate(metric, p):  # it looks at the scores
        columns += list(p.score.T)
    _, first, back = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    if len(first) > _SINGLES:
        return None
    values = np.array([evaluate(metric, _take(p, np.array([row]))) for row in first])
    return values[back.reshape(-1)] if np.isfinite(values).all() else None


def _numbers(column: np.ndarray) -> np.ndarray:
    """Texts as numbers that are equal where they are; numbers as they are."""
    return np.unique(column.astype(str), return_inverse=True)[1].astype(float) if column.dtype == object else column


def _take(p: Predictions, rows: np.ndarray) -> Predictions:
    score = None if p.score is None else p.score[rows]
    return Predictions(p.seed, p.slice, p.ids[rows], p.target[rows], p.prediction[rows], score)
