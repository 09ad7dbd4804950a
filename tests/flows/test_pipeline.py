from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows.pipeline import Outcome, run
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.flows import toy, tracking_db
from tests.flows import workspace as build

ROOT = Path(__file__).parents[2]


def _run(root: Path, *targets: str, force: bool = False, **more: Any) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    return run(list(targets) or None, force, root=root, prefect=False, say=lines.append, **more), lines


def test_a_run_says_what_ran_what_was_cached_and_where_to_look(project: Path) -> None:
    first, lines = _run(project)
    assert (first.ran, first.cached, first.ok) == (["make@a", "make@b", "join", "count"], [], True)
    assert {tuple(line.split()[:2]) for line in lines[:2]} == {("make@a", "ran"), ("make@b", "ran")}
    assert any(line.startswith("4 ran, 0 cached in ") for line in lines)
    assert any(line.startswith("slowest: ") for line in lines)
    assert "up to date" in toy.dvc(project, "status")
    again, lines = _run(project)
    assert (again.ran, again.cached) == ([], ["make@a", "make@b", "join", "count"])
    assert len(lines) == 1
    forced, _ = _run(project, "make", force=True)
    assert forced.ran == ["make@a", "make@b"]


def test_a_failure_is_told_with_its_text_and_what_finished_is_committed_and_tracked(project: Path) -> None:
    workspace, plan = Workspace(project), build.make_plan(encoders=1, seeds=1)
    build.populate(workspace, plan)
    shutil.rmtree(project / "data/reports")
    broken = "import sys\nif 'joined' in sys.argv[1]: sys.exit('error: join: a column is missing\\n  where: x.csv')\n"
    (project / "make.py").write_text(broken + toy.MAKE)
    outcome, lines = _run(project)
    assert (outcome.ran, outcome.failed, outcome.skipped) == (["make@a", "make@b"], ["join"], ["count"])
    assert not outcome.ok
    (told,) = [line for line in lines if line.startswith("join ")]
    assert "a column is missing" in told
    assert "where: x.csv" in told
    assert str(project / ".prelude/logs/join/join.log") in told
    assert "make@a" in (project / "dvc.lock").read_text()
    assert "ingest/digits" in tracking_db.by_name(workspace, plan)
    (project / "make.py").write_text(toy.MAKE)
    assert _run(project)[0].ok


def test_two_runs_in_one_workspace_are_refused(project: Path) -> None:
    (project / ".prelude/locks").mkdir(parents=True)
    with (project / ".prelude/locks/run.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run"):
            _run(project)


def test_an_unknown_target_is_refused_before_any_work(project: Path) -> None:
    with pytest.raises(UserError, match="nonsense"):
        _run(project, "nonsense")


@pytest.mark.slow
def test_a_terminated_run_stops_its_stage_keeps_what_finished_and_can_go_on(project: Path) -> None:
    slow = "import sys, time\nif 'joined' in sys.argv[1]: open('waiting', 'w').close(); time.sleep(60)\n"
    (project / "make.py").write_text(slow + toy.MAKE)
    code = "import sys; from pathlib import Path; from flows.pipeline import run; run(root=Path(sys.argv[1]), prefect=False)"
    process = subprocess.Popen([sys.executable, "-c", code, str(project)], cwd=ROOT, stdout=-1, stderr=-1, text=True)
    until = time.monotonic() + 60
    while not (project / "waiting").exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert "2 ran" in out
    assert "interrupted; run it again to go on" in out
    assert not (project / "data/joined").exists()
    outcome, _ = _run(project, "make")
    assert outcome.cached == ["make@a", "make@b"]


def test_an_interrupted_run_does_not_end_amid_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import pipeline

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    imported = threading.Event()
    slow = SimpleNamespace(import_module=lambda name: time.sleep(0.3) or imported.set())
    monkeypatch.setattr(pipeline, "importlib", slow)
    with pytest.raises(KeyboardInterrupt):
        pipeline._first_nodes(SimpleNamespace(run=interrupted, steps=None), SimpleNamespace())  # type: ignore[arg-type]
    assert imported.is_set()


@pytest.mark.slow
@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:9"])
def test_a_run_starts_its_own_server_and_stops_it(project: Path, proxy: str) -> None:
    code = "import sys; from pathlib import Path; from flows.pipeline import run; run(root=Path(sys.argv[1]))"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_") and "proxy" not in k.lower()}
    clean |= {"http_proxy": proxy, "HTTP_PROXY": proxy} if proxy else {}
    done = subprocess.run([sys.executable, "-c", code, str(project)], cwd=ROOT, capture_output=True, text=True, env=clean)
    assert "4 ran, 0 cached" in done.stdout, done.stderr
    assert "note:" not in done.stdout
    assert (project / ".prelude/prefect/prefect.db").is_file()


@pytest.mark.slow
def test_a_run_goes_on_without_a_server_that_does_not_answer_and_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    lines: list[str] = []
    outcome = run(root=project, say=lines.append)
    assert outcome.ok
    assert "went on without Prefect" in outcome.notes[0]
