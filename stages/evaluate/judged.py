"""The tasks of a system as they were judged: figures by seed, and the metric on any drawn set of their test items."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stages.common import registry, tasks
from stages.common.errors import ContractError, UserError
from stages.common.plan import TaskPlan
from stages.evaluate.bootstrap import Metric, evaluate, replicates


class Judged:
    """One task's result and predictions. Raises ContractError where they do not belong to the plan's task."""

    def __init__(self, key: str, plan: TaskPlan, folder: Path) -> None:
        self.key, self.plan, self.folder = key, plan, folder
        self.result = tasks.read_result(folder)
        if (self.result.task, self.result.system) != (key, plan.system):
            found = f"{self.result.system}/{self.result.task}"
            raise ContractError(f"the result is of task {found}, not {plan.system}/{key}", where=folder, do="run the fit again")
        self._predictions = functools.lru_cache(maxsize=32)(self._read)

    def cells(self) -> list[tuple[str, str]]:
        """(metric, slice) of every figure, metrics in the order of the result, slices by label share."""
        names = list(dict.fromkeys(v.name for v in self.result.metrics))
        shares = sorted({v.slice for v in self.result.metrics}, key=share_order)
        have = {(v.name, v.slice) for v in self.result.metrics}
        return [(name, share) for name in names for share in shares if (name, share) in have]

    def values(self, metric: str, slice: str) -> dict[int, float | None]:
        """{seed: value}; None where the value was not finite. Raises UserError naming what there is."""
        found = {v.seed: v.value for v in self.result.metrics if v.name == metric and v.slice == slice}
        if not found:
            have = ", ".join(f"{m} at {s!r}" for m, s in self.cells()) or "no metric at all"
            raise UserError(
                f"task {self.key!r} has no metric {metric!r} at label share {slice!r}",
                where=self.folder / tasks.METRICS,
                do=f"it has: {have}",
            )
        return dict(sorted(found.items()))

    def items(self, metric: str, slice: str) -> int:
        """The number of test items behind a figure; the largest over seeds."""
        return max(v.n for v in self.result.metrics if v.name == metric and v.slice == slice)

    def ids(self, seed: int, slice: str) -> np.ndarray:
        return np.unique(self._predictions(seed, slice).ids.astype(str))

    def replicates(self, metric: str, slice: str, seeds: list[int], draws: int | None = None) -> np.ndarray | None:
        """The metric's mean over seeds on each draw of test items; None where there are no predictions to draw from.

        Raises ContractError where the predictions do not give the recorded value.
        """
        if metric not in registry.names("metric") or not seeds or not self.items(metric, slice):
            return None
        found = [self._predictions(seed, slice) for seed in seeds]
        function: Metric = registry.find("metric", metric)
        for p in found:
            self._agrees(metric, p, evaluate(function, p))
        return replicates(function, found, draws)

    def _agrees(self, metric: str, p: tasks.Predictions, value: float) -> None:
        recorded = self.values(metric, p.slice)[p.seed]
        if recorded is None or not np.isclose(value, recorded, rtol=1e-4, atol=1e-6):
            raise ContractError(
                f"{metric} is {recorded} at label share {p.slice!r}, seed {p.seed}, but the predictions give {value}",
                where=self.folder,
                do="run the fit again",
            )

    def _read(self, seed: int, slice: str) -> tasks.Predictions:
        return tasks.read_predictions(self.folder, seed, slice)


def share_order(share: str) -> tuple[int, float, str]:
    """Sorts label shares from few labels to all: labels per class, percentages, all, then anything else by name."""
    if share.isdigit():
        return 0, float(share), share
    if share.endswith("%"):
        return 1, float(share.removesuffix("%")), share
    return (2 if share == "all" else 3), 0.0, share


def read(workspace_tasks: Mapping[str, TaskPlan], folders: Mapping[str, Path], where: str) -> dict[str, Judged]:
    """Every task of the plan. Raises ContractError naming those without a result, UserError where the plan has none."""
    if not workspace_tasks:
        raise UserError("no task of the plan belongs to this system", where=where, do="add a task with this `system:`")
    missing = [key for key in workspace_tasks if key not in folders]
    if missing:
        raise ContractError(f"tasks without a result: {', '.join(missing)}", where=where, do="run `dvc repro`")
    return {key: Judged(key, plan, folders[key]) for key, plan in workspace_tasks.items()}
