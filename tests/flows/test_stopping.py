"""Ctrl+C, SIGTERM and a server of Prefect's that dies: children stop, what finished is kept, the run says what happened."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from flows.pipeline import run as rerun
from tests.flows import toy
from tests.flows.trouble import Background, behave, command_line, descendants, gone, interrupt, misbehave

pytestmark = pytest.mark.slow
LIMIT_S = 5.0
STUBBORN = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])  # it ignores the signals too
Path('pids.part').write_text(f'{os.getpid()} {os.getppid()} {child.pid}')
os.rename('pids.part', 'pids')
time.sleep(60)
"""


def test_commands_that_ignore_ctrl_c_are_gone_within_five_seconds_and_a_rerun_completes(project: Path) -> None:
    misbehave(project, "joined", STUBBORN)
    with Background(project) as run:
        run.until((project / "pids").exists)
        pids = [int(pid) for pid in (project / "pids").read_text().split()]
        assert not any(gone(pid) for pid in pids)
        sent = time.monotonic()
        interrupt(run, signal.SIGINT)
        run.until(lambda: all(gone(pid) for pid in pids))
        assert time.monotonic() - sent < LIMIT_S
        assert run.end() == 130
        assert "2 ran" in run.said() and "interrupted; run it again to go on" in run.said()
    assert not (project / "data/joined").exists()
    assert sorted(toy.ran(project)) == ["a", "b"]
    behave(project)
    assert rerun(root=project, prefect=False, say=lambda line: None).ok
    assert "up to date" in toy.dvc(project, "status")


def test_a_prefect_server_that_dies_in_mid_run_costs_nothing_but_the_view(project: Path) -> None:
    misbehave(project, "joined", "open('waiting', 'w').close()\nwhile not Path('go').exists(): time.sleep(0.05)")
    with Background(project) as run:
        run.until((project / "waiting").exists)
        (server,) = [pid for pid in descendants(run.process.pid) if "flows.application" in command_line(pid)]
        port = command_line(server).split("--port ")[1].split()[0]
        run.until(lambda: _shows_a_run(port))
        time.sleep(2)
        assert _shows_a_run(port), "the run is not shown as running any more"
        os.kill(server, signal.SIGKILL)
        (project / "go").touch()
        assert run.end(60) == 0, run.said()
        assert "4 ran, 0 cached" in run.said() and "failed\n" not in run.said()
        assert "note: Prefect failed" in run.said() and "went on without it" in run.said()
        assert "Scoreboard" in run.said() and "Traceback" not in run.said() and "ERROR" not in run.said()
    assert "up to date" in toy.dvc(project, "status")


def _shows_a_run(port: str) -> bool:
    body = json.dumps({"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}).encode()
    headers = {"Content-Type": "application/json"}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/flow_runs/filter", body, headers)
    with contextlib.suppress(OSError), urllib.request.urlopen(asked, timeout=5) as answer:
        return bool(json.load(answer))
    return False
