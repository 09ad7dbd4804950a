"""What a run hears from Prefect and tells it meanwhile, against a real server."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows.dag import Dag
from flows.runner import Runner
from flows.slots import Need, Slots
from flows.steps import Steps
from flows.worker import Stopped
from stages.common.live import Live
from stages.common.workspace import Workspace
from tests.flows import toy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]
SLOW = """
import pathlib, sys, time
if "joined" in sys.argv[1]:
    pathlib.Path("waiting").touch()
    time.sleep(60)
"""


def _runner(project: Path, slots: Slots, needs: dict[str, Need] | None = None) -> Runner:
    dag = Dag(project)
    return Runner(Steps(dag, Workspace(project), dag.stages()), slots, needs or {}, keep_going=True)


def _named(name: str) -> dict[str, Any]:
    (found,) = _ask("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
    return dict(found)


def _ask(path: str, body: dict[str, Any]) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.request("POST", path, json=body).json()


def _cancel_once(started: Path, name: str) -> None:
    """What the button in Prefect's pages does, once the slow command is at work."""
    until = time.monotonic() + 60
    while not started.exists() and time.monotonic() < until:
        time.sleep(0.05)
    state = {"type": "CANCELLING", "name": "Cancelling"}
    _ask(f"/flow_runs/{_named(name)['id']}/set_state", {"state": state})


def test_a_cancellation_in_prefect_stops_the_command_at_work_and_keeps_what_finished(project: Path) -> None:
    from flows import flow

    (project / "make.py").write_text(SLOW + toy.MAKE)
    runner, lost = _runner(project, Slots(2)), []  # type: ignore[var-annotated]
    thread = threading.Thread(target=_cancel_once, args=(project / "waiting", "to be cancelled"))
    thread.start()
    with pytest.raises(Stopped, match="cancelled in Prefect"):
        flow.run_with(flow.Work(runner, dict, own_server=False, lost=lost), "to be cancelled")
    thread.join()
    run = _named("to be cancelled")
    assert (run["state_name"], run["state"]["message"]) == ("Cancelled", "cancelled in Prefect")
    assert run["total_run_time"] < 30
    assert {s.name: s.state for s in runner.steps.done.values()} == {"make@a": "ran", "make@b": "ran"}
    assert "make@a" in (project / "dvc.lock").read_text()
    assert not (project / "data/joined").exists()
    assert lost == []


def test_tasks_point_to_the_tasks_whose_outputs_they_read(project: Path) -> None:
    from flows import flow

    flow.run_with(flow.Work(_runner(project, Slots(2)), dict, own_server=False), "with edges")
    tasks = _ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [str(_named("with edges")["id"])]}}})
    names = {task["id"]: task["name"] for task in tasks}
    before = {t["name"]: sorted(names[i["id"]] for i in t["task_inputs"].get("wait_for", [])) for t in tasks}
    assert before["join"] == ["make@a", "make@b"]
    assert before["count"] == ["join"]


def test_a_stage_on_a_gpu_is_tagged_and_the_server_limits_the_tag(project: Path) -> None:
    from flows import flow

    needs = {"make@a": Need(gpus=1)}
    flow.run_with(flow.Work(_runner(project, Slots(2, gpus=[0]), needs), dict, own_server=False), "on a GPU")
    tasks = _ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [str(_named("on a GPU")["id"])]}}})
    assert {t["name"]: "gpu" in t["tags"] for t in tasks if "@" in t["name"]} == {"make@a": True, "make@b": False}
    (limit,) = _ask("/concurrency_limits/filter", {"limit": 10})
    assert (limit["tag"], limit["concurrency_limit"], limit["active_slots"]) == ("gpu", 1, [])


def test_a_pretrainings_step_loss_and_time_left_are_a_progress_artifact_that_moves(tmp_path: Path) -> None:
    from prefect import flow
    from prefect.context import FlowRunContext

    from flows.oversight import Oversight

    workspace = Workspace(tmp_path)
    live = Live(workspace.live("pretrain", "simclr_wide"), 0, "d", steps=40)

    def published(percent: float) -> dict[str, Any]:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found = _ask("/artifacts/filter", {"artifacts": {"key": {"any_": ["pretrain-simclr-wide"]}}})
            if found and float(found[0]["data"]) == percent:
                return dict(found[0])
            time.sleep(0.1)
        raise AssertionError(f"not published: {percent}")

    @flow
    def watched() -> None:
        context = FlowRunContext.get()
        assert context is not None and context.flow_run is not None
        live.event(10, {"loss": 2.5})
        with Oversight(context.flow_run.id, workspace, lambda: ["pretrain@simclr_wide", "fit@probe"], lambda: None):
            first = published(25.0)
            time.sleep(0.05)
            live.event(20, {"loss": 1.25})
            second = published(50.0)
        assert first["id"] == second["id"]
        assert first["description"] == "pretrain@simclr_wide: step 10/40, loss 2.5"
        assert "step 20/40, loss 1.25, " in second["description"] and second["description"].endswith(" s left")
        assert second["flow_run_id"] == str(context.flow_run.id)

    watched()


def test_the_server_is_told_once_to_call_a_run_without_a_heartbeat_crashed() -> None:
    from flows import oversight

    for _ in range(2):
        oversight.tell_of_the_dead()
    (made,) = _ask("/automations/filter", {"automations": {"name": {"any_": [oversight.AUTOMATION]}}})
    assert made["enabled"]
    assert made["trigger"]["posture"] == "Proactive"
    assert made["trigger"]["within"] == 3 * oversight.HEARTBEAT_S
    assert "prefect.flow-run.heartbeat" in made["trigger"]["expect"]
    assert made["actions"][0]["state"] == "CRASHED"


def test_runs_left_by_a_dead_process_on_this_workspaces_own_server_are_called_crashed() -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from flows import oversight

    with get_client(sync_client=True) as client:
        from flows.flow import pipeline

        left = client.create_flow_run(pipeline, name=f"left-{uuid4()}", state=Running())
        mine = client.create_flow_run(pipeline, name=f"mine-{uuid4()}", state=Running())
        oversight.bury_the_dead(but=mine.id)
        state, own = (client.read_flow_run(run.id).state for run in (left, mine))
        client.delete_flow_run(mine.id)
    assert state is not None and own is not None and own.name == "Running"
    assert (state.name, state.message) == ("Crashed", "Its process died.")
