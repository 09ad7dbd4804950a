"""Seeds and variants of one base as a group in MLflow: tags to group by, and what their runs are compared by.

The swept values are parameters, and a task's run has its encoder's figures beside its own: MLflow compares what is in one run.
All of it is a function of the records and of what sweeps have chosen. A base may have been shown before it was swept, so what
its run lacks is added to it; nothing is added twice, and a value once written is never another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from flows.tracking import view
from flows.tracking.recorded import Recorded
from stages.common.plan import SECTIONS
from stages.common.variant import Key

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

    from flows.tracking.store import Store

SELECTED = "prelude.selected"
COMPARED = ("pretrain", "fit")  # the stages whose runs carry figures to compare
_STAGES = {section: stage for stage, section in SECTIONS.items()}


class Groups:
    """What the records say of groups. selected: {a record's identity: what chose it}."""

    def __init__(self, records: Iterable[Recorded], selected: Mapping[str, str] | None = None) -> None:
        self.selected = dict(selected or {})
        self._by_path: dict[str, Recorded] = {}
        self._varied: dict[tuple[str, str], set[str]] = {}
        for r in records:
            self._by_path.update(dict.fromkeys(r.outputs, r))
            self._varied.setdefault((r.stage, view.group(r)), set()).update(_plan(r).get("varied") or [])

    def params(self, recorded: Recorded) -> dict[str, str]:
        """`sweep.objective.temperature`: the value that the record's lineage has of each key its group was swept over."""
        keys = self._varied.get((recorded.stage, view.group(recorded)), set())
        if recorded.stage not in COMPARED or not keys:
            return {}
        lineage, found = self._lineage(recorded), {}
        for text in sorted(keys):
            key = Key.of(text)
            for r in lineage:
                if (r.stage, view.group(r)) == (_STAGES.get(key.section), key.node):
                    with contextlib.suppress(KeyError):  # left to its default in the record's plan
                        found[_name(key, keys)] = key.value(_plan(r))
                    break
        flat = {}
        for name, value in found.items():
            if isinstance(value, Mapping) and "name" in value:  # a part: its own settings are parameters already
                value = value["name"]
            flat[view.key(name)] = view.cut(view.text(value))
        return flat

    def metrics(self, recorded: Recorded, seed: int | None) -> list[Metric]:
        """`encoder/rankme` beside a swept task's own figures: the final ones of its encoder, of the same seed."""
        from mlflow.entities import Metric

        if recorded.stage != "fit" or seed is None or not self._varied.get((recorded.stage, view.group(recorded))):
            return []
        encoder = next((r for r in self._lineage(recorded) if r.stage == "pretrain"), None)
        finals = encoder.data["metrics"] if encoder else []
        mine = {m["name"]: m["value"] for m in finals if (m["seed"], m["slice"]) == (seed, "all") and m["value"] is not None}
        return [Metric(view.key(f"encoder/{name}"), value, recorded.ended(), 0) for name, value in mine.items()]

    def tags(self, recorded: Recorded) -> dict[str, str]:
        """What chose this record, if a sweep did."""
        chosen = self.selected.get(recorded.identity)
        return {SELECTED: chosen} if chosen else {}

    def complete(self, store: Store, recorded: Recorded, seed: int | None, run: Run) -> None:
        """Adds to a run that is shown already what it lacks: it was swept, or chosen, after it had been shown."""
        from mlflow.entities import Param

        if run.info.lifecycle_stage != "active":
            return
        params = {k: v for k, v in self.params(recorded).items() if k not in run.data.params}
        wanted = {**view.group_tags(recorded), **self.tags(recorded)}
        tags = {k: v for k, v in wanted.items() if run.data.tags.get(k) != v}
        metrics = [m for m in self.metrics(recorded, seed) if m.key not in run.data.metrics]
        if params or tags or metrics:
            rows = [Param(k, v) for k, v in params.items()]
            store.client.log_batch(run.info.run_id, metrics=metrics, params=rows, tags=view.run_tags(tags))

    def discard(self, store: Store, workspace: str) -> None:
        """Takes the mark of a choice from runs that no sweep of this workspace chooses any longer."""
        found = store.client.search_runs(
            [store.experiment], filter_string=f"tags.`{SELECTED}` LIKE '%' and tags.`{view.WORKSPACE}` = '{workspace}'"
        )
        for run in found:
            if run.data.tags.get(view.IDENTITY) not in self.selected:
                store.client.delete_tag(run.info.run_id, SELECTED)

    def _lineage(self, recorded: Recorded) -> list[Recorded]:
        """The record and those that it was made from, nearest first."""
        found = {recorded.identity: recorded}
        ahead = [recorded]
        while ahead:
            for given in ahead.pop(0).inputs:
                made = self._by_path.get(given["path"])
                if made is not None and made.identity not in found:
                    found[made.identity] = made
                    ahead.append(made)
        return list(found.values())


def _plan(recorded: Recorded) -> dict[str, Any]:
    plan: dict[str, Any] = recorded.data["plan"]
    return plan


def _name(key: Key, among: Iterable[str]) -> str:
    """`sweep.` and the path inside the node; the whole key where it is no encoder's, or where another has the same path."""
    alike = [other for other in map(Key.of, among) if (other.section, other.path) == (key.section, key.path)]
    return f"sweep.{'.'.join(key.path)}" if key.section == "encoders" and len(alike) == 1 else f"sweep.{key}"
