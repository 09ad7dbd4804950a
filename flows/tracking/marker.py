"""Remembers, without MLflow, what it shows: a run that changed nothing need not open it, `prelude show` names a node's runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flows.tracking.recorded import Recorded
from flows.tracking.store import database
from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.plan import TrackingPlan
from stages.common.workspace import Workspace

Ids = dict[str, str]  # MLflow's run ids by seed; of a node without seeds by ""


def up_to_date(workspace: Workspace, tracking: TrackingPlan) -> bool:
    """Whether the SQLite file is the one last synchronised, with the records as they are. Never for a server: ask it."""
    try:
        kept = atomic.read_json(_path(workspace))
    except ContractError:
        return False
    now = _state(workspace, tracking)
    same = bool(now) and kept["file"] == now["file"] and kept["records"] == now["records"] and kept["bytes"] <= now["bytes"]
    return same and bool(_remembered(workspace, tracking))


def mark(workspace: Workspace, tracking: TrackingPlan) -> None:
    """Notes that MLflow now shows the records as they are."""
    state = _state(workspace, tracking)
    if state:
        _path(workspace).parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(_path(workspace), state)


def remember(
    workspace: Workspace,
    tracking: TrackingPlan,
    page: str,
    records: Iterable[Recorded],
    runs: Mapping[tuple[str, int | None], str],
) -> None:
    """Notes which runs show which record. page: the address below which each run has its page; runs: by identity and seed."""
    shown = {
        r.node: {
            "identity": r.identity,
            "runs": {_seed(s): runs[r.identity, s] for s in r.seeds if (r.identity, s) in runs},
        }
        for r in records
    }
    _runs_path(workspace).parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(_runs_path(workspace), {"store": _store(workspace, tracking), "page": page, "nodes": shown})


def runs_of(workspace: Workspace, tracking: TrackingPlan, recorded: Recorded) -> tuple[Ids, str, bool]:
    """(its runs in MLflow, the address below which each has its page, whether MLflow shows another result of the node).

    There are no runs where MLflow has not seen this record, as far as the last synchronisation knows.
    """
    kept = _remembered(workspace, tracking)
    node = kept.get("nodes", {}).get(recorded.node)
    if not node or not node["runs"]:
        return {}, "", False
    if node["identity"] != recorded.identity:
        return {}, "", True
    return dict(node["runs"]), str(kept["page"]), False


def _remembered(workspace: Workspace, tracking: TrackingPlan) -> dict[str, Any]:
    """What `remember` noted of this very store, or nothing."""
    try:
        kept = atomic.read_json(_runs_path(workspace))
    except ContractError:
        return {}
    return kept if isinstance(kept, dict) and kept.get("store") == _store(workspace, tracking) else {}


def _store(workspace: Workspace, tracking: TrackingPlan) -> list[str | int]:
    """Names a store and experiment; a SQLite file that was deleted and made anew is another one."""
    file = database(workspace, tracking)
    if file is None:
        return [tracking.uri, tracking.experiment]
    if not file.is_file():
        return []
    stat = file.stat()
    return [str(file), tracking.experiment, stat.st_dev, stat.st_ino]


def _state(workspace: Workspace, tracking: TrackingPlan) -> dict[str, object]:
    file = database(workspace, tracking)
    if file is None or not file.is_file():
        return {}
    manifests = sorted((workspace.data / "records").glob(f"*/*/{atomic.MANIFEST}"))
    records = {p.parent.relative_to(workspace.data).as_posix(): atomic.digest_file(p) for p in manifests}
    return {
        "file": _store(workspace, tracking),
        "bytes": file.stat().st_size,
        "records": atomic.digest_json(records),
    }


def _seed(seed: int | None) -> str:
    return "" if seed is None else str(seed)


def _path(workspace: Workspace) -> Path:
    return workspace.state / "tracking.json"


def _runs_path(workspace: Workspace) -> Path:
    return workspace.state / "runs.json"
