"""The Prefect flow, against a real server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from flows.dag import Dag
from flows.runner import Runner
from flows.slots import Slots
from flows.steps import Steps, attempt
from stages.common.workspace import Workspace
from tests.flows import toy
from tests.flows import workspace as build


def _steps(project: Path, name: str) -> Steps:
    """Runs the whole graph in a flow run of that name."""
    from flows import flow

    dag = Dag(project)
    steps = Steps(dag, Workspace(project), dag.stages())
    flow.run_with(flow.Work(Runner(steps, Slots(2), {}, keep_going=True), dict, own_server=False), name)
    return steps


def _tasks(name: str, *names: str) -> list[Any]:
    """The task runs of the flow runs so named, once the server has taken in how they ended and are called, or after 20 s."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.client.schemas.sorting import TaskRunSort

    mine = FlowRunFilter(name=FlowRunFilterName(any_=[name, *names]))  # other tests use this server too
    deadline = time.monotonic() + 20
    while True:
        with get_client(sync_client=True) as client:
            found = client.read_task_runs(flow_run_filter=mine, sort=TaskRunSort.END_TIME_DESC, limit=50)
        settled = all(t.state is not None and t.state.is_final() and not t.name.startswith("tracking-") for t in found)
        if settled or time.monotonic() > deadline:
            return list(found)
        time.sleep(0.5)


@pytest.mark.slow
def test_prefect_shows_each_stage_by_name_with_its_state_log_and_retries(project: Path, prefect_server: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName, LogFilter, LogFilterTaskRunId

    killed_once = "import os, pathlib, signal, sys\nif sys.argv[1].endswith('/a') and not pathlib.Path('tried').exists():\n"
    killed_once += "    pathlib.Path('tried').touch(); os.kill(os.getppid(), signal.SIGKILL)\n"
    (project / "make.py").write_text(killed_once + "print('hello from', __file__)\n" + toy.MAKE)
    build.node(Workspace(project), "evaluate", "quick", None, project / "data/reports/quick", {}, {"result.json": _result()})
    first = _steps(project, "first")
    assert [s.state for s in first.done.values()] == ["ran"] * 4
    second = _steps(project, "second")
    assert [s.state for s in second.done.values()] == ["cached"] * 4

    with get_client(sync_client=True) as client:
        mine = FlowRunFilter(name=FlowRunFilterName(any_=["first", "second"]))  # other tests use this server too
        tasks = _tasks("first", "second")
        named = {(t.name, t.state_name): t for t in tasks}
        assert {n for n, _ in named} == {"make@a", "make@b", "join", "count", "tracking"}
        assert {s for _, s in named} == {"Ran", "Cached", "Completed"}
        assert named["make@a", "Ran"].run_count == 2
        deadline, text = time.monotonic() + 20, ""
        while "hello from" not in text and time.monotonic() < deadline:
            joined = LogFilter(task_run_id=LogFilterTaskRunId(any_=[named["join", "Ran"].id]))
            logs = client.read_logs(joined, limit=200, offset=0)
            text = " ".join(entry.message for entry in logs)
            time.sleep(0.5)
        assert "hello from" in text
        runs = {"flow_runs": mine.model_dump(mode="json"), "artifacts": {"key": {"any_": ["scoreboard"]}}}
        found = client.request("POST", "/artifacts/filter", json=runs).json()
        assert len(found) == 2 and '"verdict": "holds"' in found[0]["data"]


@pytest.mark.slow
@pytest.mark.parametrize("taken", ["make@a", "count"])
def test_nodes_taken_before_the_server_was_there_are_shown_too(project: Path, prefect_server: None, taken: str) -> None:

    from flows import flow

    dag = Dag(project)
    steps = Steps(dag, Workspace(project), dag.stages())
    runner = Runner(steps, Slots(2), {})
    runner.run(lambda node, grant: attempt(steps, node, grant), until=lambda: taken in steps.done)
    assert {"make@a", "make@b"} <= {node.name for node in runner.begun()}
    work = flow.Work(runner, dict, own_server=False)
    flow.run_with(work, f"late after {taken}")
    assert [s.state for s in steps.done.values()] == ["ran"] * 4 and work.lost == []
    tasks = _tasks(f"late after {taken}")
    names = {task.id: task.name for task in tasks}
    assert sorted(names.values()) == ["count", "join", "make@a", "make@b", "tracking"]
    assert {t.state_name for t in tasks if t.name != "tracking"} == {"Ran"}
    (join,) = [t for t in tasks if t.name == "join"]
    assert sorted(names[given.id] for given in join.task_inputs["wait_for"]) == ["make@a", "make@b"]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_failed_stage_makes_the_flow_run_failed_and_is_not_tried_again(project: Path, prefect_server: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort

    (project / "make.py").write_text("import sys\nif 'joined' in sys.argv[1]: sys.exit('error: bad data')\n" + toy.MAKE)
    steps = _steps(project, "broken")
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


def _result() -> dict[str, object]:
    claim = {"id": "order", "says": "a beats b", "verdict": "holds", "values": {}}
    return {"system": "quick", "title": "Quick", "provenance": "real", "metrics": {}, "claims": [claim]}
