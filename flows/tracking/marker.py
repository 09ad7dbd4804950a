"""Remembers, without MLflow, that its database shows all records: a run that changed nothing need not open it."""

from __future__ import annotations

from pathlib import Path

from flows.tracking.store import database
from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.plan import TrackingPlan
from stages.common.workspace import Workspace


def up_to_date(workspace: Workspace, tracking: TrackingPlan) -> bool:
    """Whether the SQLite file is the one last synchronised, with the records as they are. Never for a server: ask it."""
    try:
        kept = atomic.read_json(_path(workspace))
    except ContractError:
        return False
    now = _state(workspace, tracking)
    return bool(now) and kept["file"] == now["file"] and kept["records"] == now["records"] and kept["bytes"] <= now["bytes"]


def mark(workspace: Workspace, tracking: TrackingPlan) -> None:
    """Notes that MLflow now shows the records as they are."""
    state = _state(workspace, tracking)
    if state:
        _path(workspace).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(_path(workspace), state)


def _state(workspace: Workspace, tracking: TrackingPlan) -> dict[str, object]:
    file = database(workspace, tracking)
    if file is None or not file.is_file():
        return {}
    stat = file.stat()
    manifests = sorted((workspace.data / "records").glob(f"*/*/{atomic.MANIFEST}"))
    records = {p.parent.relative_to(workspace.data).as_posix(): atomic.digest_file(p) for p in manifests}
    return {
        "file": [str(file), tracking.experiment, stat.st_dev, stat.st_ino],
        "bytes": stat.st_size,
        "records": atomic.digest_json(records),
    }


def _path(workspace: Workspace) -> Path:
    return workspace.state / "tracking.json"
