"""What the tables and curves of a report are drawn from: one row per task, metric and label share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages.evaluate import bootstrap
from stages.evaluate.claims import describe
from stages.evaluate.judged import Judged


@dataclass(frozen=True)
class Row:
    """A figure over seeds: mean, sample std, and the 95% interval of the mean over draws of test items (None: no items)."""

    task: str
    metric: str
    slice: str
    mean: float | None
    std: float | None
    seeds: dict[str, float | None]
    items: int
    low: float | None
    high: float | None
    draws: int


def rows(judged: Mapping[str, Judged]) -> list[Row]:
    """Every figure of every task."""
    return [row(task, metric, slice) for task in judged.values() for metric, slice in task.cells()]


def row(task: Judged, metric: str, slice: str) -> Row:
    """One metric of one task at one label share, over its seeds."""
    values = task.values(metric, slice)
    about = describe(values)
    drawn = task.replicates(metric, slice, [s for s, v in values.items() if v is not None])
    found = None if drawn is None else bootstrap.interval(drawn)
    low, high, draws = (None, None, 0) if found is None else (found.low, found.high, found.draws)
    return Row(
        task.key,
        metric,
        slice,
        about["mean"],
        about["std"],
        about["seeds"],
        task.items(metric, slice),
        low,
        high,
        draws,
    )


def curves(table: list[Row]) -> list[dict[str, Any]]:
    """Metric against label share: one curve per task and metric that was fitted at two label shares or more."""
    found: dict[tuple[str, str], list[Row]] = {}
    for r in table:
        if r.mean is not None:
            found.setdefault((r.metric, r.task), []).append(r)
    keys = ("slice", "mean", "std", "low", "high")
    return [
        {"metric": metric, "task": task, "points": [{k: getattr(r, k) for k in keys} for r in points]}
        for (metric, task), points in found.items()
        if len(points) > 1
    ]


def means(table: list[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """{task: {slice: {metric: mean}}}, for `dvc metrics`."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for r in table:
        if r.mean is not None:
            found.setdefault(r.task, {}).setdefault(r.slice, {})[r.metric] = r.mean
    return found
