"""Variants as groups: which base a node is a variant of, and every sweep as a table of values against figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.common.plan import SECTIONS
from stages.common.variant import Key, brief
from stages.report.collect import Found, Node
from stages.report.lineage import Lineage

MEASURES = "measures"
_STAGES = {section: stage for stage, section in SECTIONS.items()}


@dataclass(frozen=True)
class Column:
    """One figure that the points of a sweep are compared by; better: True for more, False for less, None for neither."""

    task: str
    metric: str
    slice: str
    better: bool | None
    free: bool  # no label had a part in it


@dataclass(frozen=True)
class Row:
    """One point: its values as they are typed; mean and std over seeds by column, None where there is none."""

    values: list[str]
    names: list[str]
    base: bool
    figures: list[dict[str, Any] | None]
    simulated: bool


@dataclass(frozen=True)
class Sweep:
    """keys: by their short names. best: by column, the number of the row with the best mean."""

    title: str
    keys: dict[str, str]
    columns: list[Column]
    rows: list[Row]
    best: list[int | None]


def base(node: Node) -> str:
    """The key of the node that this one is a variant of, or its own."""
    return str(node.plan.get("variant_of") or node.key)


def sweeps(found: Found, lineage: Lineage) -> list[Sweep]:
    """Keys that were varied together make one sweep. Its points are compared by the tasks that have variants."""
    return [s for keys in _together(found.nodes) if (s := _sweep(keys, found, lineage)).rows and s.columns]


def _together(nodes: Iterable[Node]) -> list[list[str]]:
    """Sets of keys that some node's lineage was varied in at once."""
    sets: list[set[str]] = []
    for node in nodes:
        mine = set(node.plan.get("varied") or [])
        if mine:
            mine = mine.union(*(s for s in sets if s & mine))
            sets = [s for s in sets if not s & mine] + [mine]
    return sorted(sorted(s) for s in sets)


def _sweep(keys: list[str], found: Found, lineage: Lineage) -> Sweep:
    swept = {base(n) for n in found.nodes if n.stage == "fit" and set(n.plan.get("varied") or []) & set(keys)}
    tasks = [n for n in found.nodes if n.stage == "fit" and base(n) in swept]
    columns = _columns(tasks, found)
    points: dict[str, list[Node]] = {}
    for task in tasks:
        values = [_value(Key.of(key), task, lineage) for key in keys]
        points.setdefault(json.dumps(values), []).append(task)
    figures = {(row["task"], row["metric"], row["slice"]): row for r in found.systems.values() for row in r.get("rows", ())}
    rows = []
    for text, members in sorted(points.items(), key=lambda item: _order(json.loads(item[0]))):
        by_base = {base(n): n for n in members}
        cells = [_figure(figures.get((by_base[c.task].key, c.metric, c.slice))) if c.task in by_base else None for c in columns]
        rows.append(
            Row(
                [_said(value) for value in json.loads(text)],
                sorted(n.key for n in members),
                all(n.plan.get("variant_of") is None for n in members),
                cells,
                any(lineage.simulated(n.id) for n in members),
            )
        )
    best = [_best(c, [row.figures[i] for row in rows]) for i, c in enumerate(columns)]
    title = ", ".join(dict.fromkeys(Key.of(key).node for key in keys))
    return Sweep(title, brief(keys), columns, rows, best)


def _columns(tasks: list[Node], found: Found) -> list[Column]:
    """The label-free measures, then every other task's first metric at its fewest labels."""
    metrics = {name: about for r in found.systems.values() for name, about in (r.get("metrics") or {}).items()}

    def column(task: Node, metric: str, slice: str, free: bool) -> Column:
        return Column(task.key, metric, slice, metrics.get(metric, {}).get("higher_is_better"), free)

    free, judged = [], []
    for task in tasks:
        if task.plan.get("variant_of") is not None:
            continue
        rows = [row for r in found.systems.values() for row in r.get("rows", ()) if row["task"] == task.key]
        if (task.plan.get("head") or {}).get("name") == MEASURES and task.plan.get("label") is None:
            free += [column(task, row["metric"], row["slice"], True) for row in rows]
        elif rows and task.plan.get("metrics"):
            first = [row["slice"] for row in rows if row["metric"] == task.plan["metrics"][0]]
            judged += [column(task, task.plan["metrics"][0], first[0], False)] if first else []
    free.sort(key=lambda c: c.metric != "rankme")
    return free + judged


def _value(key: Key, task: Node, lineage: Lineage) -> Any:
    """The key's value in the task's lineage; None where the record leaves it to its default."""
    for id in (task.id, *sorted(lineage.ancestors(task.id))):
        node = lineage.nodes.get(id)
        if node is not None and (node.stage, base(node)) == (_STAGES.get(key.section), key.node):
            try:
                return key.value(node.plan)
            except KeyError:
                return None
    return None


def _said(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    return value if isinstance(value, str) else "default" if value is None else json.dumps(value, ensure_ascii=False)


def _order(values: list[Any]) -> list[tuple[bool, float, str]]:
    """Numbers by size, then the rest by name."""
    numeric = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in values]
    return [(not n, float(v) if n else 0.0, "" if n else _said(v)) for n, v in zip(numeric, values)]


def _figure(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None or row.get("mean") is None:
        return None
    return {"mean": row["mean"], "std": row.get("std"), "seeds": len(row.get("seeds") or ())}


def _best(column: Column, figures: list[dict[str, Any] | None]) -> int | None:
    there = {i: f["mean"] for i, f in enumerate(figures) if f is not None}
    if column.better is None or len(there) < 2:
        return None
    return max(there, key=lambda i: there[i] if column.better else -there[i])
