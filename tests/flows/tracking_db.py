"""What is in a tracking database, read with a client of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from flows.tracking import store, view
from stages.common.plan import Plan
from stages.common.workspace import Workspace


def client(workspace: Workspace, plan: Plan) -> Any:
    from mlflow import MlflowClient

    uri = store.address(workspace, plan.tracking)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs(workspace: Workspace, plan: Plan, kind: str = "node") -> list[Any]:
    c = client(workspace, plan)
    experiment = c.get_experiment_by_name(plan.tracking.experiment)
    return list(c.search_runs([experiment.experiment_id], f"tags.`{view.KIND}` = '{kind}'", max_results=5000))


def by_name(workspace: Workspace, plan: Plan) -> dict[str, Any]:
    found = runs(workspace, plan)
    named = {r.info.run_name: r for r in found}
    assert len(named) == len(found), f"duplicates among {sorted(r.info.run_name for r in found)}"
    return named


def stamp(run: Any) -> tuple[Any, ...]:
    """All that a write to a run would change."""
    return run.info.run_id, run.info.end_time, sorted(run.data.tags.items()), sorted(run.data.params.items())


def history(workspace: Workspace, plan: Plan, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((m.step, m.value) for m in client(workspace, plan).get_metric_history(run_id, name))


def emptied(database: Path, target: Path) -> Path:
    """A migrated database without runs, to copy: migrating one takes seconds."""
    with sqlite3.connect(database) as source, sqlite3.connect(target) as copy:
        source.backup(copy)
        for table in ("latest_metrics", "metrics", "params", "tags", "input_tags", "inputs", "datasets", "runs", "experiments"):
            copy.execute(f"delete from {table}")
        copy.execute("delete from experiment_tags")
    return target
