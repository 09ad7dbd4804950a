"""`prelude serve` with a real server: a run comes due, completes and is in MLflow; Ctrl+C stops all that was started."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from stages.common.workspace import Workspace
from tests.flows import toy, tracking_db
from tests.flows import workspace as build
from tests.flows.schedules.kit import ROOT

SLOW = """
import os, sys, time
if 'joined' in sys.argv[1]:
    open('waiting', 'w').write(str(os.getpid()))
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        open('tidied', 'w').close()
        sys.exit(1)
"""


@pytest.mark.slow
def test_a_scheduled_run_completes_and_is_in_mlflow_and_ctrl_c_stops_everything(project: Path) -> None:
    workspace, plan = Workspace(project), build.make_plan(encoders=1, seeds=1)
    build.populate(workspace, plan)
    shutil.rmtree(project / "data/reports")
    shutil.copy(ROOT / "prefect.yaml", project)
    with _served(project) as (process, said, family):
        api = _until(120, lambda: next(iter(re.findall(r"Prefect at (http://127\.0\.0\.1:\d+) ", said())), None), said)
        _until(60, lambda: "serving; Ctrl+C stops it" in said(), said)
        assert "nightly/project" in said() and "every 15 s" in said()
        with urllib.request.urlopen(api, timeout=10) as page:
            assert b"<html" in page.read()
        assert _status(f"{api}/api/health") == 200
        assert _status(f"{api}/api/health", host="pages.example") == 400  # as after DNS rebinding

        run = _until(120, lambda: next((r for r in _runs(api) if r["state_name"] == "Completed"), None), said)
        assert run["auto_scheduled"] and run["created_by"]["type"] == "SCHEDULE" and run["deployment_id"]
        assert run["state"]["message"] == "4 ran, 0 cached"
        mine = {"flow_runs": {"id": {"any_": [run["id"]]}}}
        assert {t["name"] for t in _post(api, "task_runs/filter", mine)} == {"make@a", "make@b", "join", "count", "tracking"}
        assert f"nightly {run['name']}" in [r.info.run_name for r in tracking_db.runs(workspace, plan, "pipeline")]
        assert "ingest/digits" in tracking_db.by_name(workspace, plan)

        _deploys_to_a_work_pool(project, api)

        (project / "make.py").write_text(SLOW + toy.MAKE)
        stage = int(_until(60, lambda: _text(project / "waiting"), said))
        family += [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert psutil.pid_exists(stage) and len(family) > 3
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the runs as well; none is just starting now
        _until(5, lambda: not psutil.pid_exists(stage), said)
        assert (project / "tidied").exists()  # it was interrupted, and not only killed
        assert process.wait(timeout=30) == 0, said()
        assert "Cancelled: interrupted; what finished is kept" in said()
        assert [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
        assert "Traceback" not in said()


def _deploys_to_a_work_pool(project: Path, api: str) -> None:
    """prefect.yaml is what `prefect deploy` accepts."""
    _post(api, "work_pools/", {"name": "prelude", "type": "process", "base_job_template": {}})
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    environment = {**toy.environment(), "PREFECT_API_URL": f"{api}/api", "PREFECT_HOME": str(project / "home")}
    environment |= {"PYTHONPATH": _path(), "DO_NOT_TRACK": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {d["name"]: d for d in _post(api, "deployments/filter", {}) if d["work_queue_name"]}
    assert {n: [s["schedule"].get("cron", s["schedule"].get("interval")) for s in d["schedules"]] for n, d in made.items()} == {
        "nightly": ["0 2 * * *"],
        "weekly_verify": ["0 4 * * 0"],
        "watch": [300.0],
    }
    assert made["watch"]["parameters"]["corpus"] == "digits"


@contextmanager
def _served(project: Path) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], str], list[psutil.Process]]]:
    """(the process, what it said so far, processes to look after); nothing of it outlives the block."""
    environment = {k: v for k, v in toy.environment().items() if not k.startswith("PREFECT_")}
    environment |= {"PYTHONPATH": _path(), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    command = [sys.executable, "-m", "flows.cli", "serve", "nightly", "--interval", "15", "--port", "0"]
    heard = project / "said.log"
    family: list[psutil.Process] = []
    with heard.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=project, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process, heard.read_text, family
    finally:
        if process.poll() is None:
            family += psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait()
        for left in family:
            try:
                left.kill()
            except psutil.NoSuchProcess:
                continue


def _path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def _until(seconds: float, look: Callable[[], Any], said: Callable[[], str]) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"nothing within {seconds:g} s; said: {said()}")


def _runs(api: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _post(api, "flow_runs/filter", {"sort": "EXPECTED_START_TIME_ASC"})
    return found


def _post(api: str, path: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{api}/api/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        pytest.fail(f"{path}: {error.read().decode()}")


def _status(url: str, host: str = "") -> int:
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
