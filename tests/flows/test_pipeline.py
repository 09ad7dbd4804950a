from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import worker
from flows.dag import Dag
from flows.pipeline import Outcome, run
from flows.steps import Steps
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.flows import toy, tracking_db
from tests.flows import workspace as build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.create(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(worker, "PRELOAD", ["stages.common.stage"])
    return Path(shutil.copytree(template, tmp_path / "project", symlinks=True))


def _run(root: Path, *targets: str, force: bool = False) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    return run(list(targets) or None, force, root=root, prefect=False, say=lines.append), lines


def test_a_run_says_what_ran_what_was_cached_and_where_to_look(project: Path) -> None:
    first, lines = _run(project)
    assert (first.ran, first.cached, first.ok) == (["make@a", "make@b", "join", "count"], [], True)
    assert lines[0].split()[:2] == ["make@a", "ran"]
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


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.mark.slow
def test_prefect_shows_each_stage_by_name_with_its_state_log_and_retries(project: Path, prefect_server: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import LogFilter, LogFilterTaskRunId
    from prefect.client.schemas.sorting import TaskRunSort

    from flows import flow

    killed_once = "import os, pathlib, signal\nif not pathlib.Path('tried').exists():\n"
    killed_once += "    pathlib.Path('tried').touch(); os.kill(os.getppid(), signal.SIGKILL)\n"
    (project / "make.py").write_text(killed_once + "print('hello from', __file__)\n" + toy.MAKE)
    build.node(Workspace(project), "evaluate", "quick", None, project / "data/reports/quick", {}, {"result.json": _result()})
    dag = Dag(project)
    first = Steps(dag, Workspace(project), dag.stages())
    flow.run_with(first, "first")
    assert [s.state for s in first.done.values()] == ["ran"] * 4
    second = Steps(dag, Workspace(project), dag.stages())
    flow.run_with(second, "second")
    assert [s.state for s in second.done.values()] == ["cached"] * 4

    with get_client(sync_client=True) as client:
        tasks = client.read_task_runs(sort=TaskRunSort.END_TIME_DESC, limit=50)
        named = {(t.name, t.state_name): t for t in tasks}
        assert {n for n, _ in named} == {"make@a", "make@b", "join", "count"}
        assert {s for _, s in named} == {"Ran", "Cached"}
        assert named["make@a", "Ran"].run_count == 2
        assert set(named["make@a", "Ran"].tags) == {"make", "a"}
        deadline, text = time.monotonic() + 20, ""
        while "hello from" not in text and time.monotonic() < deadline:
            mine = LogFilter(task_run_id=LogFilterTaskRunId(any_=[named["join", "Ran"].id]))
            logs = client.read_logs(mine, limit=200, offset=0)
            text = " ".join(entry.message for entry in logs)
            time.sleep(0.5)
        assert "hello from" in text
        found = client.request("POST", "/artifacts/filter", json={"artifacts": {"key": {"any_": ["scoreboard"]}}}).json()
        assert '"verdict": "holds"' in found[0]["data"]


@pytest.mark.slow
def test_a_failed_stage_makes_the_flow_run_failed_and_is_not_tried_again(project: Path, prefect_server: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

    from flows import flow

    (project / "make.py").write_text("import sys\nif 'joined' in sys.argv[1]: sys.exit('error: bad data')\n" + toy.MAKE)
    dag = Dag(project)
    steps = Steps(dag, Workspace(project), dag.stages())
    flow.run_with(steps, "broken")
    assert {n: s.state for n, s in steps.done.items()} == {
        "make@a": "ran",
        "make@b": "ran",
        "join": "failed",
        "count": "skipped",
    }
    with get_client(sync_client=True) as client:
        newest = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=20)
        (run_,) = [r for r in newest if r.name == "broken"]
        assert run_.state_name == "Failed"
        (join,) = [
            t
            for t in client.read_task_runs(sort=TaskRunSort.END_TIME_DESC, limit=50)
            if t.flow_run_id == run_.id and t.name == "join"
        ]
        assert (join.state_name, join.run_count) == ("Failed", 1)


@pytest.mark.slow
def test_a_run_starts_its_own_server_and_stops_it(project: Path) -> None:
    code = "import sys; from pathlib import Path; from flows.pipeline import run; run(root=Path(sys.argv[1]))"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
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


def _result() -> dict[str, object]:
    claim = {"id": "order", "says": "a beats b", "verdict": "holds", "values": {}}
    return {"system": "quick", "title": "Quick", "provenance": "real", "metrics": {}, "claims": [claim]}
