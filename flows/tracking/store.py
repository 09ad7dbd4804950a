"""The MLflow store: its address, opened safely. A fresh SQLite file is initialised by one process while others wait."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stages.common import atomic
from stages.common.plan import TrackingPlan
from stages.common.workspace import Workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
PROBE_S = 3.0


class StoreDown(Exception):
    """The tracking server or database cannot be used now. Nothing is lost: the records are replayed later."""


@dataclass(frozen=True)
class Store:
    """An open store: client, the experiment's id, and the address it was opened at."""

    client: MlflowClient
    experiment: str
    uri: str


def address(workspace: Workspace, tracking: TrackingPlan) -> str:
    """The tracking URI, a relative SQLite path resolved against the workspace."""
    path = database(workspace, tracking)
    return tracking.uri if path is None else f"{SQLITE}{path}"


def database(workspace: Workspace, tracking: TrackingPlan) -> Path | None:
    """The SQLite file of the store, or None where the store is a server."""
    if not tracking.uri.startswith(SQLITE):
        return None
    return (workspace.root / tracking.uri.removeprefix(SQLITE)).absolute()


def artifacts(workspace: Workspace) -> Path:
    """Where a local store keeps reports and encoders. They are copies: deleting the folder loses no result."""
    return (workspace.state / "mlflow-artifacts").absolute()


def environment() -> None:
    """Settings that MLflow reads when it is imported: no telemetry, and a server that is down is given up soon."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def damage(path: Path) -> str:
    """What is wrong with a SQLite file; nothing where all of it can be read, or where it is locked just now."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as opened:
            (found,) = opened.execute("pragma quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return ""
    except sqlite3.DatabaseError as error:
        found = str(error)
    return "" if found == "ok" else f"SQLite says: {found.splitlines()[-1]}"


@contextlib.contextmanager
def locked(workspace: Workspace, tracking: TrackingPlan, *, wait: bool = True) -> Iterator[bool]:
    """One process at a time opens and writes a SQLite store (of a server: one of this workspace). Yields whether it is ours.

    Several processes that migrate a fresh SQLite file at once crash ("duplicate column name").
    """
    file = database(workspace, tracking)
    path = workspace.state / "locks" / "tracking.lock" if file is None else file.with_name(f"{file.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            held = False
        yield held


def connect(workspace: Workspace, tracking: TrackingPlan) -> Store:
    """Opens the store and finds or makes the experiment; `locked` is held meanwhile. Raises StoreDown."""
    uri, path = address(workspace, tracking), database(workspace, tracking)
    if path is None:
        _probe(uri)
    environment()
    try:
        import mlflow  # noqa: F401  it sets its loggers' levels when it is imported

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        if path is not None and not path.exists():
            _begin(path)
        return _open(uri, tracking.experiment, None if path is None else artifacts(workspace).as_uri())
    except Exception as error:
        raise StoreDown(first_line(error)) from error


def _begin(path: Path) -> None:
    """Makes a database beside `path`, and puts it there when it is whole.

    MLflow makes its tables in fifty migrations; a database in which a kill cut one is never completed nor begun anew.
    """
    from mlflow import MlflowClient

    for stale in path.parent.glob(f".{path.name}.new-*"):  # what a killed process left: the lock is ours
        stale.unlink()
    making = path.with_name(f".{path.name}.new-{os.getpid()}")
    uri = f"{SQLITE}{making}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
    with making.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(making, path)
    atomic.sync_folder(path.parent)


def _open(uri: str, experiment: str, location: str | None) -> Store:
    from mlflow import MlflowClient
    from mlflow.entities import LifecycleStage
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is not None and found.lifecycle_stage == LifecycleStage.DELETED:
        client.restore_experiment(found.experiment_id)
    if found is None:
        try:
            return Store(client, client.create_experiment(experiment, artifact_location=location), uri)
        except MlflowException:  # another machine made it between our two calls
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise
    return Store(client, found.experiment_id, uri)


def _probe(uri: str) -> None:
    """Raises StoreDown unless something listens there: MLflow itself would try for minutes."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=PROBE_S).close()
    except OSError as error:
        raise StoreDown(f"nothing answers at {parts.scheme}://{parts.hostname}:{port} ({error})") from None


def first_line(error: BaseException) -> str:
    """An error in one line, for a warning."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
