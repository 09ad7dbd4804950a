"""Prefect's server killed and started again while a run is at work: the run goes on, and the server shows how it ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.flows import toy
from tests.flows.trouble import Background, misbehave

WAITING = "open('waiting', 'w').close()\nwhile not Path('go').exists(): time.sleep(0.05)"
APP = ("--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--lifespan", "on", "--log-level", "error")


@contextmanager
def server(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server of a user's own, which keeps its database in `home`."""
    home.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        **toy.environment(),
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    process = subprocess.Popen([sys.executable, "-m", "uvicorn", *APP, "--port", str(port)], env=environment)
    try:
        end = time.monotonic() + 120
        while _asked(f"{url}/health") is None:
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.2)
        yield process
    finally:
        process.kill()
        process.wait()


def _asked(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with suppress(OSError), urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)
    return None


@pytest.mark.soak
def test_a_prefect_server_that_is_started_again_in_mid_run(tmp_path: Path) -> None:
    project = toy.create(tmp_path / "p")
    misbehave(project, "joined", WAITING)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    runs = f"{url}/flow_runs/filter"
    with server(tmp_path / "home", port) as first:
        run = Background(project, environment={"PREFECT_API_URL": url})
        run.until((project / "waiting").exists)
        run.until(lambda: [r["state_type"] for r in _asked(runs, {}) or []] == ["RUNNING"])
        os.kill(first.pid, 9)
        first.wait()
    with run:
        time.sleep(3)  # without any server
        with server(tmp_path / "home", port):
            (project / "go").touch()
            assert run.end(180) == 0, run.said()
            assert "4 ran, 0 cached" in run.said() and "Traceback" not in run.said()
            assert [r["state_type"] for r in _asked(runs, {})] == ["COMPLETED"]
            tasks = {t["name"]: t["state_type"] for t in _asked(f"{url}/task_runs/filter", {})}
            assert {tasks[name] for name in ("make@a", "make@b", "join", "count")} == {"COMPLETED"}
    assert sorted(toy.ran(project)) == ["a", "b", "counted", "joined"]
    assert "up to date" in toy.dvc(project, "status")
