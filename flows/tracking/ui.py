"""`prelude ui`: MLflow's pages over the plan's store, on this machine only unless told otherwise."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from flows.loopback import free_port, spare_loopback
from flows.tracking import store
from stages.common.errors import UserError
from stages.common.plan import TrackingPlan
from stages.common.process import terminated_as_interrupted
from stages.common.workspace import Workspace


def command(workspace: Workspace, tracking: TrackingPlan, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """The command that serves the store's pages."""
    uri, artifacts = store.address(workspace, tracking), store.artifacts(workspace).as_uri()
    where = ["--backend-store-uri", uri, "--default-artifact-root", artifacts]
    return [sys.executable, "-m", "mlflow", "server", *where, "--host", host, "--port", str(port), "--workers", "1"]


def serve(root: Path, tracking: TrackingPlan, port: int = 5000, host: str = "127.0.0.1") -> int:
    """Serves until it is stopped with Ctrl+C; returns the exit code. Raises UserError where there is nothing to serve."""
    workspace = Workspace(root)
    if store.database(workspace, tracking) is None:
        raise UserError(
            f"the plan tracks to a server, {tracking.uri}", where="tracking.uri", do="open that address in a browser"
        )
    try:
        free_port(host, port)
    except OSError as error:
        do = f"name another one: `prelude ui --port {port + 1}`"
        raise UserError(f"cannot listen there: {error.strerror}", where=f"{host}:{port}", do=do) from None
    with store.locked(workspace, tracking):  # a fresh database is initialised by one process, before the server's own
        try:
            runs = f"#/experiments/{store.connect(workspace, tracking).experiment}/runs"
        except store.StoreDown as down:
            raise UserError(f"MLflow's database cannot be opened: {down}", where="tracking.uri") from None
    spare_loopback()
    print("starting MLflow's server", flush=True)
    with terminated_as_interrupted():
        # A session of its own: Ctrl+C is answered here, once, and not by each of its workers.
        server = subprocess.Popen(command(workspace, tracking, host, port), cwd=workspace.root, start_new_session=True)
        try:
            answered = False
            while server.poll() is None:  # not wait(): a signal that another thread takes would not end it
                if not answered and (answered := _answers(f"http://{host}:{port}/health")):
                    print(f"MLflow: http://{host}:{port}/{runs}  (Ctrl+C stops it)", flush=True)
                    # kept in the browser, so no setting of ours
                    print("its sidebar has a switch: choose 'Model training'", flush=True)
                time.sleep(0.2)
            return server.returncode
        except KeyboardInterrupt:
            return 0
        finally:
            _stop(server)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as page:
            return bool(page.status == 200)
    except OSError:
        return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server and all that it started: its job consumers lead sessions of their own."""
    import psutil

    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(family, timeout=5)[1]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    server.wait()
