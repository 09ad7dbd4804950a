"""Verdicts on claims: holds, contradicted or open, at 95%.

Ordered claim, per adjacent pair: d = better - worse, turned so that more is better, against the margin.
  three seeds or more   two-sided Student-t interval of the differences paired by seed
  fewer, or no spread   percentile interval of the mean difference on the same drawn test items
holds where the interval lies above the margin, contradicted where it lies below, open where it reaches across. The claim
holds if every pair does and is contradicted if any pair is. What cannot be judged is open, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from stages.common.claim import ChoicePlan, ClaimPlan, CorrelationPlan
from stages.common.errors import UserError
from stages.evaluate import bootstrap
from stages.evaluate.direction import orientation
from stages.evaluate.judged import Judged

Verdict = Literal["holds", "contradicted", "open"]
ENOUGH_SEEDS = 3
ENOUGH_TASKS = 3  # below, a rank correlation says nothing
ENOUGH_TO_DRAW = 5  # tasks, below which a bootstrap over them says nothing
_DIGITS = 12  # 0.9 - 0.8 is to meet a margin of 0.1


@dataclass(frozen=True)
class Comparison:
    """An estimate against a threshold. by: what the interval is over, n of them; note: what limits it, or why it is open."""

    estimate: float | None
    low: float | None
    high: float | None
    by: Literal["seeds", "items", "tasks", "nothing"]
    n: int
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True)
class Pair:
    """One step of an ordered claim; the difference is positive where `better` is better."""

    better: str
    worse: str
    difference: Comparison


@dataclass(frozen=True)
class ClaimResult:
    """A claim's verdict and what it rests on; values: {task: {metric: {"mean", "std", "seeds": {seed: value}}}}.

    A correlation's `metric` and `slice` are those of y and its `margin` is what rho is to be above.
    """

    id: str
    says: str
    verdict: Verdict
    metric: str
    slice: str
    margin: float
    seeds: int
    values: dict[str, dict[str, Any]]
    pairs: list[Pair] = field(default_factory=list)
    correlation: Comparison | None = None
    correlation_of: str = ""
    matched: list[tuple[str, str]] = field(default_factory=list)  # the tasks of x and y of each encoder


def judge(id: str, claim: ClaimPlan, judged: Mapping[str, Judged]) -> ClaimResult:
    """The verdict on one claim. Raises UserError where a metric, label share or common seed is missing."""
    if claim.correlation is not None:
        return _correlated(id, claim.says, claim.correlation, judged)
    if claim.choice is not None and claim.metric is not None:
        return _chosen(id, claim, claim.choice, claim.metric, judged)
    if claim.metric is None or len(claim.order) < 2:
        raise UserError("a claim has a `metric` and an `order` of two tasks or more, or a `correlation`", where=f"claim {id}")
    tasks = [_task(id, name, judged) for name in claim.order]
    pairs = [Pair(a.key, b.key, compare(a, b, claim.metric, claim.slice, claim.margin)) for a, b in pairwise(tasks)]
    return ClaimResult(
        id,
        claim.says,
        combined([p.difference.verdict for p in pairs]),
        claim.metric,
        claim.slice,
        claim.margin,
        min(len(_common(a, b, claim.metric, claim.slice)) for a, b in pairwise(tasks)),
        {t.key: {claim.metric: describe(t.values(claim.metric, claim.slice))} for t in tasks},
        pairs,
    )


def compare(better: Judged, worse: Judged, metric: str, slice: str, margin: float) -> Comparison:
    """How much `better` is better than `worse`, against the margin."""
    seeds = _common(better, worse, metric, slice)
    first, second = (_array(task.values(metric, slice), seeds) for task in (better, worse))
    differences = orientation(metric) * (first - second)
    lost = [str(s) for s, d in zip(seeds, differences) if not np.isfinite(d)]
    if lost:  # leaving those seeds out would favour the encoder that failed
        return _open(len(seeds), f"{metric} is not finite for seed {', '.join(lost)}")
    spread = len(seeds) > 1 and float(np.ptp(differences)) > 10**-_DIGITS
    if len(seeds) >= ENOUGH_SEEDS and spread:
        return student(differences, margin)
    over_items = _items(better, worse, metric, slice, seeds, margin, float(differences.mean()))
    if over_items is not None:
        return over_items
    if len(seeds) >= ENOUGH_SEEDS:
        return student(differences, margin)
    return _open(len(seeds), f"{len(seeds)} seed(s), and no predictions on the same test items", float(differences.mean()))


def student(values: np.ndarray, threshold: float, bounds: tuple[float, float] = (-np.inf, np.inf)) -> Comparison:
    """mean +- t(0.975, n - 1) * s / sqrt(n) of n values, cut at `bounds`, against the threshold; n >= 2."""
    from scipy.stats import t

    n = len(values)
    mean, error = float(values.mean()), float(values.std(ddof=1)) / n**0.5
    reach = float(t.ppf(0.5 + bootstrap.LEVEL / 2, n - 1)) * error
    low, high = max(mean - reach, bounds[0]), min(mean + reach, bounds[1])
    note = "" if error > 10**-_DIGITS else "no spread over seeds"
    return Comparison(mean, low, high, "seeds", n, verdict(low, high, threshold), note)


def verdict(low: float, high: float, threshold: float) -> Verdict:
    """holds above the threshold, contradicted below, else open."""
    low, high, threshold = (round(v, _DIGITS) for v in (low, high, threshold))
    return "holds" if low > threshold else "contradicted" if high < threshold else "open"


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """The claim's verdict: contradicted if one pair is, else open if one pair is, else holds."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "open" if "open" in verdicts else "holds"


def describe(values: Mapping[int, float | None]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds that have a value; None where there are too few."""
    finite = [v for v in values.values() if v is not None]
    return {
        "mean": float(np.mean(finite)) if finite else None,
        "std": float(np.std(finite, ddof=1)) if len(finite) > 1 else None,
        "seeds": {str(s): v for s, v in values.items()},
    }


def _items(
    better: Judged, worse: Judged, metric: str, slice: str, seeds: list[int], margin: float, estimate: float
) -> Comparison | None:
    first = better.replicates(metric, slice, seeds, bootstrap.DRAWS)
    second = worse.replicates(metric, slice, seeds, bootstrap.DRAWS)
    if first is None or second is None:
        return None
    ids = better.ids(seeds[0], slice)
    if not all(np.array_equal(ids, task.ids(s, slice)) for task in (better, worse) for s in seeds):
        return None  # different test items: their draws cannot be paired
    found = bootstrap.interval(orientation(metric) * (first - second))
    if found is None:
        return None
    note = f"{len(seeds)} seed(s)" if len(seeds) < ENOUGH_SEEDS else "no spread over seeds"
    return Comparison(estimate, found.low, found.high, "items", len(ids), verdict(found.low, found.high, margin), note)


def _correlated(id: str, says: str, plan: CorrelationPlan, judged: Mapping[str, Judged]) -> ClaimResult:
    xs, ys = [_task(id, n, judged) for n in plan.x], [_task(id, n, judged) for n in plan.y]
    x = [t.values(plan.x_metric, plan.x_slice) for t in xs]
    y = [t.values(plan.y_metric, plan.y_slice) for t in ys]
    seeds = sorted(set.intersection(*(set(v) for v in [*x, *y])))
    found = correlate(plan, np.stack([_array(v, seeds) for v in x]), np.stack([_array(v, seeds) for v in y]))
    values: dict[str, dict[str, Any]] = {}
    for task, metric, column in [(t, plan.x_metric, v) for t, v in zip(xs, x)] + [(t, plan.y_metric, v) for t, v in zip(ys, y)]:
        values.setdefault(task.key, {})[metric] = describe(column)
    return ClaimResult(
        id,
        says,
        found.verdict,
        plan.y_metric,
        plan.y_slice,
        plan.above,
        len(seeds),
        values,
        correlation=found,
        correlation_of=f"{plan.x_metric} and {plan.y_metric} over {len(x)} encoders",
        matched=list(zip(plan.x, plan.y)),
    )


def _chosen(id: str, claim: ClaimPlan, plan: ChoicePlan, metric: str, judged: Mapping[str, Judged]) -> ClaimResult:
    among = [_task(id, name, judged).values(metric, claim.slice) for name in plan.among]
    by = [_task(id, name, judged).values(plan.by_metric, plan.by_slice) for name in plan.by]
    other = [_task(id, name, judged).values(plan.other_metric, plan.other_slice) for name in plan.other]
    seeds = sorted(set.intersection(*(set(v) for v in [*among, *by, *other])))
    figures = np.stack([_array(v, seeds) for v in among])
    picked = choose(plan.by_metric, np.stack([_array(v, seeds) for v in by]), figures)
    rival, against = "best by its labels", choose(metric, figures, figures)
    if plan.against == "other":
        rival = f"chosen by {plan.other_metric}"
        against = choose(plan.other_metric, np.stack([_array(v, seeds) for v in other]), figures)
    difference = orientation(metric) * (picked - against)
    found = _open(len(seeds), f"{len(seeds)} common seed(s)")
    if len(seeds) >= ENOUGH_SEEDS:
        found = (
            student(difference, claim.margin) if np.isfinite(difference).all() else _open(len(seeds), "a figure is not finite")
        )
    ours = f"chosen by {plan.by_metric}"
    shown = {ours: picked, rival: against} | dict(zip(plan.among, figures))
    values = {name: {metric: describe({s: float(x) for s, x in zip(seeds, v)})} for name, v in shown.items()}
    pairs = [Pair(ours, rival, found)]
    return ClaimResult(id, claim.says, found.verdict, metric, claim.slice, claim.margin, len(seeds), values, pairs)


def choose(metric: str, by: np.ndarray, figures: np.ndarray) -> np.ndarray:
    """figures (tasks, seeds) of the task that is best in `by` (tasks, seeds), for each seed; the first of equals."""
    turned = orientation(metric) * by
    best = np.where(np.isfinite(turned), turned, -np.inf).argmax(0)
    return figures[best, np.arange(figures.shape[1])]


def correlate(plan: CorrelationPlan, x: np.ndarray, y: np.ndarray) -> Comparison:
    """Spearman's rho between x and y (tasks, seeds), both turned so that more is better, per seed, against `above`."""
    tasks, seeds = x.shape
    x, y = orientation(plan.x_metric) * x, orientation(plan.y_metric) * y
    if tasks < ENOUGH_TASKS:
        return _open(tasks, f"a rank correlation needs {ENOUGH_TASKS} encoders or more, there are {tasks}")
    if not seeds:
        return _open(0, "no seed is common to all tasks")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return _open(seeds, "a figure is not finite")
    rho = np.array([spearman(x[:, s], y[:, s]) for s in range(seeds)])
    if not np.isfinite(rho).all():
        return _open(seeds, "all encoders have the same figure")
    if seeds >= ENOUGH_SEEDS:
        return student(rho, plan.above, (-1.0, 1.0))
    note = f"{seeds} common seed(s)"
    draws = np.random.default_rng(0).integers(0, tasks, (bootstrap.DRAWS, tasks))
    found = bootstrap.interval(np.array([spearman(x[d].mean(1), y[d].mean(1)) for d in draws]))
    estimate = spearman(x.mean(1), y.mean(1))
    if tasks < ENOUGH_TO_DRAW or found is None:
        return _open(seeds, f"{note} and {tasks} encoders: too few to judge", estimate)
    return Comparison(estimate, found.low, found.high, "tasks", tasks, verdict(found.low, found.high, plan.above), note)


def spearman(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """Pearson's correlation of the ranks, ties at their mean rank; NaN where one side is constant."""
    from scipy.stats import rankdata

    a, b = rankdata(x) - (len(x) + 1) / 2, rankdata(y) - (len(y) + 1) / 2
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else float("nan")


def _open(n: int, note: str, estimate: float | None = None) -> Comparison:
    estimate = None if estimate is None or not np.isfinite(estimate) else estimate
    return Comparison(estimate, None, None, "nothing", n, "open", note)


def _array(values: Mapping[int, float | None], seeds: Sequence[int]) -> np.ndarray:
    """The seeds' values (S,), NaN where there is none."""
    return np.array([np.nan if (value := values[s]) is None else value for s in seeds], float)


def _common(a: Judged, b: Judged, metric: str, slice: str) -> list[int]:
    first, second = a.values(metric, slice), b.values(metric, slice)
    common = sorted(set(first) & set(second))
    if not common:
        raise UserError(
            f"tasks {a.key!r} and {b.key!r} have no seed in common: {list(first)} and {list(second)}",
            where=f"systems: claim on {metric}",
            do="give them the same `seeds:`",
        )
    return common


def _task(claim: str, name: str, judged: Mapping[str, Judged]) -> Judged:
    if name not in judged:
        raise UserError(f"claim {claim!r} names task {name!r}", where="systems", do=f"it has: {', '.join(judged)}")
    return judged[name]
