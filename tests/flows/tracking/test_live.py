from __future__ import annotations

import json
import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from flows.tracking.live import Tail
from flows.tracking.store import connect, locked
from flows.tracking.sync import synchronise
from stages.common.live import Live
from stages.common.plan import Plan
from stages.common.workspace import Workspace
from tests.flows import tracking_db
from tests.flows import workspace as build

DIGEST = "a" * 64


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace, plan = Workspace(tmp_path_factory.mktemp("db")), build.make_plan()
    with locked(workspace, plan.tracking):
        connect(workspace, plan.tracking)
    with sqlite3.connect(workspace.root / "mlflow.db") as made:
        made.execute("delete from experiments")
    return workspace.root / "mlflow.db"


@pytest.fixture
def started(tmp_path: Path, database: Path) -> tuple[Workspace, Plan]:
    workspace, plan = Workspace(tmp_path), build.make_plan()
    build.populate(workspace, plan)
    shutil.rmtree(workspace.record("pretrain", "e0"))
    shutil.copy(database, tmp_path / "mlflow.db")
    return workspace, plan


def _live(workspace: Workspace, seed: int = 0, resume_at: int | None = None) -> Live:
    return Live(workspace.live("pretrain", "e0"), seed, DIGEST, steps=7, resume_at=resume_at)


def _loss(workspace: Workspace, plan: Plan) -> list[tuple[int, float]]:
    run = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"]
    return tracking_db.history(workspace, plan, run.info.run_id, "loss")


def test_a_running_stage_is_seen_within_five_seconds(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    with Tail(workspace, plan, interval=0.2):
        live = _live(workspace)
        for step in range(3):
            live.event(step, {"loss": 1.0 / (1 + step)})
        before = time.monotonic()
        while time.monotonic() - before < 5:
            time.sleep(0.2)
            if len(tracking_db.runs(workspace, plan)) and len(_loss(workspace, plan)) == 3:
                break
        assert _loss(workspace, plan) == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
        run = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"]
        assert run.info.status == "RUNNING"
    (parent,) = tracking_db.runs(workspace, plan, "pipeline")
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_the_record_completes_the_live_run_without_doubling_a_step(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    tail, live = Tail(workspace, plan), _live(workspace)
    for step in range(4):
        live.event(step, {"loss": 1.0 / (1 + step)})
    tail.look()
    begun = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"].info.run_id
    build.pretrain(workspace, plan, "e0", steps=7, digest=DIGEST)
    live.event(6, {"loss": 1.0 / 7})
    tail.look()
    synchronise(workspace, plan)
    found = tracking_db.by_name(workspace, plan)
    assert found["pretrain/e0 seed 0"].info.run_id == begun
    assert found["pretrain/e0 seed 0"].info.status == "FINISHED"
    assert _loss(workspace, plan) == [(s, 1.0 / (1 + s)) for s in range(7)]
    (parent,) = tracking_db.runs(workspace, plan, "pipeline")
    assert {r.data.tags["mlflow.parentRunId"] for r in found.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"


def test_a_node_that_ended_is_whole_before_its_pipeline_is_over(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    tail = Tail(workspace, plan)
    tail.look()
    assert tracking_db.runs(workspace, plan) == []  # what earlier pipelines left is the synchroniser's
    build.pretrain(workspace, plan, "e0", steps=7)
    tail.look()
    ended = tracking_db.by_name(workspace, plan)
    (parent,) = tracking_db.runs(workspace, plan, "pipeline")
    assert sorted(ended) == ["pretrain/e0 seed 0", "pretrain/e0 seed 1"] and parent.info.status == "RUNNING"
    assert {r.info.status for r in ended.values()} == {"FINISHED"}
    before = {name: tracking_db.stamp(r) for name, r in ended.items()}
    tail.look()
    written = synchronise(workspace, plan)
    found = tracking_db.by_name(workspace, plan)
    assert {name: tracking_db.stamp(found[name]) for name in ended} == before
    assert sorted(written) == sorted(r.info.run_id for name, r in found.items() if name not in ended)
    (parent,) = tracking_db.runs(workspace, plan, "pipeline")
    assert {r.data.tags["mlflow.parentRunId"] for r in found.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"


def test_a_node_that_ended_is_joined_to_inputs_of_an_earlier_pipeline(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    synchronise(workspace, plan)
    corpus = tracking_db.by_name(workspace, plan)["ingest/digits"].info.run_id
    tail = Tail(workspace, plan)
    tail.look()
    build.pretrain(workspace, plan, "e0", steps=7)
    tail.look()
    run = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 1"]
    assert json.loads(run.data.tags["prelude.inputs"])[0]["runs"] == [corpus]


def test_a_pipeline_that_is_being_stopped_leaves_its_nodes_to_the_synchroniser(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    tail = Tail(workspace, plan)
    tail.look()
    build.pretrain(workspace, plan, "e0", steps=7)
    tail._stop.set()
    tail.look()
    assert tracking_db.runs(workspace, plan) == []


def test_a_stage_that_goes_on_from_a_snapshot_goes_on_in_its_run(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    first, live = Tail(workspace, plan), _live(workspace)
    for step in range(5):
        live.event(step, {"loss": float(step)})
    first.look()
    live.close()
    begun = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"].info.run_id
    again = _live(workspace, resume_at=2)
    for step in range(3, 7):
        again.event(step, {"loss": float(step)})
    tail = Tail(workspace, plan)
    tail._since = 0.0
    tail.look()
    assert _loss(workspace, plan) == [(s, float(s)) for s in range(7)]
    assert tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"].info.run_id == begun


def test_a_stage_that_never_finished_is_shown_as_killed_once_its_pipeline_ended(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    _live(workspace).event(0, {"loss": 1.0})
    tail = Tail(workspace, plan)
    tail._since = 0.0
    tail.look()
    synchronise(workspace, plan, owner=False)
    assert tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"].info.status == "RUNNING"
    synchronise(workspace, plan, owner=True)
    run = tracking_db.by_name(workspace, plan)["pretrain/e0 seed 0"]
    assert run.info.status == "KILLED"
    assert "before it wrote a record" in run.data.tags["prelude.stopped"]


def test_live_files_of_earlier_runs_are_left_alone(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    _live(workspace).event(0, {"loss": 1.0})
    tail = Tail(workspace, plan)
    tail._since = time.time() + 10
    tail.look()
    assert tail.files == {}


def test_a_line_still_being_written_waits_for_its_end(started: tuple[Workspace, Plan]) -> None:
    workspace, plan = started
    live = _live(workspace)
    live.event(0, {"loss": 1.0})
    whole = live.path.read_text()
    live.path.write_text(whole + whole.replace('"step": 0', '"step": 1')[:30])
    tail = Tail(workspace, plan)
    tail._since = 0.0
    tail.look()
    assert _loss(workspace, plan) == [(0, 1.0)]
    live.path.write_text(whole + whole.replace('"step": 0', '"step": 1'))
    tail.look()
    assert _loss(workspace, plan) == [(0, 1.0), (1, 1.0)]
