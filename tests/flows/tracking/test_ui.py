from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from flows.tracking import ui
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.flows import workspace as build

ROOT = Path(__file__).parents[3]


def test_the_pages_are_served_on_loopback_from_the_plans_store(tmp_path: Path) -> None:
    command = ui.command(Workspace(tmp_path), build.make_plan().tracking)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--backend-store-uri") + 1] == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_plan_that_tracks_to_a_server_has_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="open that address"):
        ui.serve(tmp_path, build.make_plan(uri="http://tracking.example:5000").tracking)


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Address already in use[^$]*127.0.0.1:{port}[^$]*--port {port + 1}"):
            ui.serve(tmp_path, build.make_plan().tracking, port)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_pages_answer_on_loopback_only_and_all_workers_stop_with_it(tmp_path: Path, number: int) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from flows.tracking import ui; from stages.common.plan import TrackingPlan\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where the tests run in the background
        "sys.exit(ui.serve(Path(sys.argv[1]), TrackingPlan(), int(sys.argv[2])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(port)]
    server = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=-1, stderr=-1)
    try:
        assert server.stdout is not None
        address = next(line for line in server.stdout if line.startswith(b"MLflow: "))  # its server says other things
        assert address.decode() == f"MLflow: http://127.0.0.1:{port}/#/experiments/1/runs  (Ctrl+C stops it)\n"
        assert _status(f"http://127.0.0.1:{port}/", f"127.0.0.1:{port}") == 200  # at once: it is named when it answers
        family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert _status(f"http://127.0.0.1:{port}/", "pages.example") == 403  # as after DNS rebinding
        assert {address for process in family for address in _listening(process)} == {"127.0.0.1"}
    finally:
        server.send_signal(number)
        server.communicate(timeout=60)
    assert server.returncode == 0
    assert all(not p.is_running() for p in family)


def _listening(process: psutil.Process) -> set[str]:
    try:
        return {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    except psutil.NoSuchProcess:  # a helper of MLflow's start that has ended
        return set()


def _status(url: str, host: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=10) as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return error.code
