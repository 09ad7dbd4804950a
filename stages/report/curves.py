"""Curves thinned to what a chart can show, and the tables that `dvc metrics` and `dvc plots` read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stages.report.collect import Curve, Found, Node

POINTS = 150
_FIRST = ("knn", "rankme", "total", "loss")  # what a reader looks for first, by a word in the name


def names(nodes: Iterable[Node]) -> list[str]:
    """Everything logged by step, what a reader looks for first at the front."""
    found = {name for node in nodes for name in node.series}
    rank = {name: next((i for i, word in enumerate(_FIRST) if word in name.lower()), len(_FIRST)) for name in found}
    return sorted(found, key=lambda name: (rank[name], name))


def headline(name: str) -> bool:
    """Whether a curve is shown first."""
    return any(word in name.lower() for word in _FIRST)


def thin(steps: Sequence[int], values: Sequence[float], points: int = POINTS) -> tuple[list[int], list[float]]:
    """At most `points` of a curve: consecutive values are averaged and stand at their last step."""
    size = -(-len(steps) // points)
    groups = range(0, len(steps), max(size, 1))
    return [steps[min(g + size, len(steps)) - 1] for g in groups], [_mean(values[g : g + size]) for g in groups]


def learning(curve: Curve) -> dict[str, Any]:
    """{"seeds": {seed: [[step, value]]}, "mean": [[step, mean, lowest, highest]]} over steps that all seeds have."""
    thinned = {seed: dict(zip(*thin(*points))) for seed, points in sorted(curve.items())}
    common = sorted(set.intersection(*(set(points) for points in thinned.values()))) if thinned else []
    spread = [[step, *_spread([points[step] for points in thinned.values()])] for step in common]
    seeds = {str(seed): [[step, _short(v)] for step, v in points.items()] for seed, points in thinned.items()}
    return {"seeds": seeds, "mean": spread}


def metrics_of(found: Found) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """{system: {task: {slice: {metric: mean}}}}."""
    table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for system, result in found.systems.items():
        for row in result.get("rows", ()):
            if row.get("mean") is not None:
                shares = table.setdefault(system, {}).setdefault(row["task"], {})
                shares.setdefault(row["slice"], {})[row["metric"]] = row["mean"]
    return table


def learning_csv(nodes: Iterable[Node]) -> str:
    """encoder, seed, step, name, value."""
    rows = []
    for node in nodes:
        for name in names([node]):
            for seed, points in sorted(node.series[name].items()):
                rows += [[node.key, seed, step, name, repr(_short(value))] for step, value in zip(*thin(*points))]
    return _csv(["encoder", "seed", "step", "name", "value"], rows)


def label_share_csv(systems: Mapping[str, Mapping[str, Any]], simulated: Mapping[tuple[str, str], bool]) -> str:
    """system, task, metric, labels, order (0 is the fewest labels), mean, std, low, high, provenance."""
    rows = []
    for system, result in systems.items():
        for curve in result.get("curves", ()):
            provenance = "simulated" if simulated.get((system, curve["task"])) else "real"
            for order, point in enumerate(curve["points"]):
                figures = ["" if point.get(k) is None else repr(point[k]) for k in ("mean", "std", "low", "high")]
                rows.append([system, curve["task"], curve["metric"], point["slice"], order, *figures, provenance])
    return _csv(["system", "task", "metric", "labels", "order", "mean", "std", "low", "high", "provenance"], rows)


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _spread(values: list[float]) -> list[float]:
    return [_short(_mean(values)), _short(min(values)), _short(max(values))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _short(value: float) -> float:
    return float(f"{value:.5g}")
