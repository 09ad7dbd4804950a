"""The figures of a sweep's variants, read from the records of their nodes: label-free measures, and the probe's metric."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.figures import BySeed
from flows.sweep.variants import Node, Variant
from flows.tracking.recorded import Recorded, read
from stages.common.errors import unknown
from stages.common.plan import SECTIONS, Plan
from stages.common.schema import as_plain
from stages.common.workspace import Workspace

STAGES = {"encoders": "pretrain", "tasks": "fit"}
MEASURES, PROBE = "measures", "linear_probe"
WITH_LABELS = ("knn_accuracy",)  # of the pretraining's own figures


@dataclass(frozen=True)
class Measure:
    """One figure that every variant has: the base node that reports it, its name and its label share.

    sees_labels: whether labels had a part in it, so that choosing by it is no label-free choice.
    """

    node: Node
    name: str
    slice: str
    sees_labels: bool

    @property
    def source(self) -> str:
        """The task, or the encoder's own record."""
        return self.node[1] if self.node[0] == "tasks" else f"{self.node[1]} while pretraining"

    @property
    def title(self) -> str:
        share = self.slice if not self.slice.isdigit() else f"{self.slice} per class"
        return self.name if self.slice == "all" else f"{self.name} at {share}"


@dataclass(kw_only=True)
class Figure(BySeed):
    """A measure of one variant, over the seeds that the node has."""

    @property
    def whole(self) -> bool:
        """Whether every seed has a finite value."""
        return bool(self.values) and len(self.finite) == len(self.values)


@dataclass(frozen=True)
class Figures:
    """By variant, in the sweep's order: its records, and a figure for every measure."""

    variants: list[Variant]
    measures: list[Measure]
    table: list[dict[Measure, Figure]]
    records: list[dict[Node, Recorded]]

    def shown(self, *also: Measure | None) -> list[Measure]:
        """What a table shows: the measures of tasks made for it, RankMe while pretraining where there are none, and others."""
        free = [m for m in self.measures if not m.sees_labels and m.node[0] == "tasks"]
        free = free or [m for m in self.measures if m.name == "rankme"]
        return list(dict.fromkeys([*free, *(m for m in also if m is not None)]))

    def named(self, name: str) -> Measure:
        """The measure to choose by: of a label-free task, else of the pretraining, else of a probe. Raises UserError."""
        found = [m for m in self.measures if m.name == name]
        if not found:
            raise unknown("measure", name, {m.name for m in self.measures}, where="--select")
        return min(found, key=lambda m: (m.sees_labels, m.node[0] != "tasks", share_rank(m.slice)))

    def oracle(self, plan: Plan) -> Measure | None:
        """What a probe, which sees labels, would choose by: its first metric at its smallest label share."""
        for head in (PROBE, None):
            for m in sorted(self.measures, key=lambda m: share_rank(m.slice)):
                task = plan.tasks.get(m.node[1]) if m.node[0] == "tasks" else None
                if task and task.metrics and m.name == task.metrics[0] and head in (task.head.name, None):
                    return m
        return None


def read_all(workspace: Workspace, plan: Plan, variants: Sequence[Variant], unmade: Collection[str] = ()) -> Figures:
    """Figures of the variants. unmade: stages that failed or were skipped, such as `fit@probe`: what lies there is old."""
    records: list[dict[Node, Recorded]] = []
    for variant in variants:
        mine = {}
        for node, name in variant.nodes.items():
            stage = next(stage for stage, section in SECTIONS.items() if section == node[0])
            found = None if f"{stage}@{name}" in unmade else read(workspace.record(stage, name))
            if found is not None and found.data["plan"] == as_plain(plan.node(stage, name)):
                mine[node] = found
        records.append(mine)
    measures = dict.fromkeys(m for mine in records for node, r in mine.items() for m in _measures(node, r, plan))
    table = [{m: _figure(m, variant, plan, mine) for m in measures} for variant, mine in zip(variants, records)]
    return Figures(list(variants), list(measures), table, records)


def share_rank(share: str) -> tuple[int, float]:
    """Orders label shares from few labels to many."""
    number = float(re.sub(r"[^\d.]", "", share) or 0)
    return (2, 0.0) if share == "all" else (1, number) if share.endswith("%") else (0, number)


def _measures(node: Node, record: Recorded, plan: Plan) -> list[Measure]:
    if node[0] not in STAGES:
        return []
    task = plan.tasks[node[1]] if node[0] == "tasks" else None
    free = task is not None and task.head.name == MEASURES and task.label is None
    found = []
    for metric in record.data["metrics"]:
        if metric["seed"] is not None:
            sees = not free if task else metric["name"] in WITH_LABELS
            found.append(Measure(node, metric["name"], metric["slice"], sees))
    return found


def _figure(measure: Measure, variant: Variant, plan: Plan, records: Mapping[Node, Recorded]) -> Figure:
    """Not every seed need be there: a value that was not finite is left out of a record."""
    section, base = measure.node
    seeds = plan.node(STAGES[section], variant.nodes.get(measure.node, base)).seeds
    record = records.get(measure.node)
    rows: list[dict[str, Any]] = record.data["metrics"] if record else []
    mine = {m["seed"]: m["value"] for m in rows if (m["name"], m["slice"]) == (measure.name, measure.slice)}
    return Figure(values={s: v if (v := mine.get(s)) is not None and math.isfinite(v) else None for s in seeds})
