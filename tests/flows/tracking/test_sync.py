from __future__ import annotations

import json
import logging
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from flows.tracking import store, view
from flows.tracking.marker import runs_of, up_to_date
from flows.tracking.recorded import read_all
from flows.tracking.sync import Parents, replay, synchronise
from stages.common.plan import Plan
from stages.common.workspace import Workspace
from tests.flows import tracking_db
from tests.flows import workspace as build

ROOT = Path(__file__).parents[3]
EXPECTED = {
    "ingest/digits",
    *(f"pretrain/{e} seed {s}" for e in ("e0", "random") for s in (0, 1)),
    *(f"extract/{e}" for e in ("e0", "random")),
    *(f"fit/probe_{e} seed {s}" for e in ("e0", "random") for s in (0, 1)),
    "evaluate/quick",
    "report/report",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Plan]:
    workspace, plan = Workspace(tmp_path_factory.mktemp("made")), build.make_plan()
    build.populate(workspace, plan)
    assert len(synchronise(workspace, plan, run_name="first")) == len(EXPECTED)
    return workspace, plan


@pytest.fixture(scope="module")
def empty_database(made: tuple[Workspace, Plan]) -> Path:
    workspace, _ = made
    return tracking_db.emptied(workspace.root / "mlflow.db", workspace.root / "empty.db")


@pytest.fixture
def fresh(tmp_path: Path, empty_database: Path) -> tuple[Workspace, Plan]:
    workspace, plan = Workspace(tmp_path), build.make_plan()
    build.populate(workspace, plan)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return workspace, plan


def test_each_record_is_shown_once_per_seed_below_one_parent(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    found = tracking_db.by_name(workspace, plan)
    parents = tracking_db.runs(workspace, plan, "pipeline")
    assert set(found) == EXPECTED
    assert [p.info.run_name for p in parents] == ["first"]
    assert {r.data.tags["mlflow.parentRunId"] for r in found.values()} == {parents[0].info.run_id}
    assert {r.info.status for r in [*found.values(), *parents]} == {"FINISHED"}


def test_a_second_call_adds_and_changes_nothing(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    before = _dump(workspace)
    assert synchronise(workspace, plan, run_name="second") == []
    assert _dump(workspace) == before


def test_a_later_pipeline_begins_with_the_first_record_that_is_new(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    synchronise(workspace, plan, run_name="first")
    time.sleep(0.05)
    late = int(time.time() * 1000)
    build.node(workspace, "evaluate", "later", None, workspace.data / "reports/later", {}, {"result.json": {"claims": []}})
    synchronise(workspace, plan, run_name="second")
    began = {r.info.run_name: r.info.start_time for r in tracking_db.runs(workspace, plan, "pipeline")}
    assert began["first"] < late <= began["second"]


def test_a_pipeline_that_brought_nothing_new_is_not_over_before_it_began(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    synchronise(workspace, plan, run_name="first")
    now = int(time.time() * 1000) + 60_000
    with store.locked(workspace, plan.tracking):
        Parents(store.connect(workspace, plan.tracking), workspace, plan, "stopped").get(now)
    synchronise(workspace, plan)
    (stopped,) = [r for r in tracking_db.runs(workspace, plan, "pipeline") if r.info.run_name == "stopped"]
    assert (stopped.info.status, stopped.info.end_time - stopped.info.start_time) == ("FINISHED", 0)


def test_a_run_shows_parameters_figures_series_and_cost(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    found = tracking_db.by_name(workspace, plan)
    encoder, probe = found["pretrain/e0 seed 1"], found["fit/probe_e0 seed 1"]
    assert encoder.data.params["objective.name"] == "simclr"
    assert encoder.data.params["seed"] == "1"
    assert "seeds" not in encoder.data.params
    assert tracking_db.history(workspace, plan, encoder.info.run_id, "loss") == [(s, 1 / (2 + s)) for s in range(5)]
    assert encoder.data.metrics["knn"] == 0.51
    assert encoder.data.metrics["node/collapsed"] == 0.0
    assert {"system/total_s", "system/items_per_s", "system/peak_memory_mb"} <= set(encoder.data.metrics)
    assert probe.data.metrics["accuracy"] == pytest.approx(0.91)
    assert probe.data.metrics["accuracy/10pct"] == pytest.approx(0.81)


def test_lineage_runs_from_claim_to_corpus_by_digest_and_run(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    found = tracking_db.by_name(workspace, plan)
    ids = {r.info.run_id: name for name, r in found.items()}

    def upstream(name: str) -> dict[str, list[str]]:
        return {i["path"]: [ids[r] for r in i["runs"]] for i in json.loads(found[name].data.tags["prelude.inputs"])}

    assert upstream("evaluate/quick")["data/tasks/quick/probe_e0"] == ["fit/probe_e0 seed 0", "fit/probe_e0 seed 1"]
    assert upstream("fit/probe_e0 seed 1")["data/features/e0"] == ["extract/e0"]
    assert upstream("extract/e0")["data/encoders/e0"] == ["pretrain/e0 seed 0", "pretrain/e0 seed 1"]
    assert upstream("pretrain/e0 seed 1") == {"data/corpora/digits": ["ingest/digits"]}
    (given,) = found["pretrain/e0 seed 1"].inputs.dataset_inputs
    manifest = json.loads((workspace.corpus("digits") / "manifest.json").read_text())
    assert given.dataset.name == "data/corpora/digits"
    assert json.loads(given.dataset.profile)["sha256"] == manifest["digest"]
    assert manifest["digest"].startswith(given.dataset.digest)


def test_the_parent_holds_the_report_the_claims_and_the_way_to_every_node(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    (parent,) = tracking_db.runs(workspace, plan, "pipeline")
    client = tracking_db.client(workspace, plan)
    assert [a.path for a in client.list_artifacts(parent.info.run_id)] == ["index.html"]
    assert "**holds**" in parent.data.tags["mlflow.note.content"]
    assert set(json.loads(parent.data.tags["prelude.nodes"])) == EXPECTED
    evaluated = tracking_db.by_name(workspace, plan)["evaluate/quick"]
    assert [a.path for a in client.list_artifacts(evaluated.info.run_id)] == ["result.json"]


def test_a_changed_node_adds_its_runs_alone_and_a_restored_one_is_found_again(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    synchronise(workspace, plan)
    old = {name: r.info.run_id for name, r in tracking_db.by_name(workspace, plan).items()}
    kept = workspace.root / "kept"
    shutil.copytree(workspace.record("pretrain", "e0"), kept)
    build.pretrain(workspace, plan, "e0", steps=7, digest="f" * 64)
    assert len(synchronise(workspace, plan)) == 2
    shutil.rmtree(workspace.record("pretrain", "e0"))
    shutil.copytree(kept, workspace.record("pretrain", "e0"))
    done = replay(workspace, plan)
    assert done.logged == []
    assert {old["pretrain/e0 seed 0"], old["pretrain/e0 seed 1"]} <= set(done.runs.values())


@pytest.mark.slow
def test_a_deleted_database_is_filled_again_whole(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    synchronise(workspace, plan)
    assert up_to_date(workspace, plan.tracking)
    (workspace.root / "mlflow.db").unlink()
    assert not up_to_date(workspace, plan.tracking)
    again = _in_process(
        "print(len(sync.synchronise(workspace, plan)))", workspace
    )  # MLflow keeps a deleted file open in this one
    assert again.stdout.split() == [str(len(EXPECTED))], again.stderr
    assert set(tracking_db.by_name(workspace, plan)) == EXPECTED


def test_a_run_deleted_by_hand_stays_deleted(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    synchronise(workspace, plan)
    run = tracking_db.by_name(workspace, plan)["extract/e0"]
    tracking_db.client(workspace, plan).delete_run(run.info.run_id)
    assert synchronise(workspace, plan) == []


def test_an_unreachable_server_is_a_warning_and_the_records_come_later(
    fresh: tuple[Workspace, Plan], caplog: pytest.LogCaptureFixture
) -> None:
    workspace, plan = fresh
    with socket.socket() as taken:  # bound but not listening: refuses at once
        taken.bind(("127.0.0.1", 0))
        down = build.make_plan(uri=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with caplog.at_level(logging.WARNING):
            assert synchronise(workspace, down) == []
    assert "MLflow is down" in caplog.text
    assert len(synchronise(workspace, plan)) == len(EXPECTED)


@pytest.mark.slow
def test_a_server_that_takes_calls_and_never_answers_is_given_up_and_the_records_come_later(
    fresh: tuple[Workspace, Plan], tmp_path: Path
) -> None:
    workspace, plan = fresh
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        down = f"build.make_plan(uri='http://127.0.0.1:{silent.getsockname()[1]}')"
        limits = "import os; os.environ |= {'MLFLOW_HTTP_REQUEST_TIMEOUT': '1', 'MLFLOW_HTTP_REQUEST_MAX_RETRIES': '1'}\n"
        started = time.monotonic()
        done = _in_process(f"{limits}print(sync.replay(workspace, {down}).problems)", workspace)
    assert time.monotonic() - started < 30
    assert done.returncode == 0 and "nothing is lost" in done.stdout, done.stderr
    assert len(synchronise(workspace, plan)) == len(EXPECTED)


@pytest.mark.slow
def test_a_locked_database_is_a_warning_and_the_records_come_later(
    fresh: tuple[Workspace, Plan], caplog: pytest.LogCaptureFixture
) -> None:
    workspace, plan = fresh
    holder = sqlite3.connect(workspace.root / "mlflow.db", isolation_level=None)
    holder.execute("begin exclusive")
    with caplog.at_level(logging.WARNING):
        assert synchronise(workspace, plan) == []
    holder.execute("rollback")
    holder.close()
    assert "nothing is lost" in caplog.text
    assert len(synchronise(workspace, plan)) == len(EXPECTED)
    assert set(tracking_db.by_name(workspace, plan)) == EXPECTED


def test_a_damaged_record_is_named_and_the_others_are_shown(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    (workspace.record("extract", "e0") / "record.json").write_text('{"stage": "extr')
    done = replay(workspace, plan)
    assert any("extract/e0" in problem and "damaged" in problem for problem in done.problems)
    assert set(tracking_db.by_name(workspace, plan)) == EXPECTED - {"extract/e0"}


def test_long_values_are_cut_with_a_note(fresh: tuple[Workspace, Plan]) -> None:
    workspace, plan = fresh
    record = build.started("ingest", "wide", None)
    record.plan = {"classes": "x" * 9000} | {f"key{i}": i for i in range(250)}
    record.series = [(0, s, f"m{m}", float(s), 1.7e9 + s) for s in range(300) for m in range(5)]
    build.finish(workspace, record, workspace.corpus("wide"), {}, {"card.json": {}})
    synchronise(workspace, plan)
    run = tracking_db.by_name(workspace, plan)["ingest/wide"]
    assert len(run.data.params) == 251
    assert len(run.data.params["classes"]) == view.LONGEST
    assert run.data.params["classes"].endswith("(cut: 9,000 characters in all; the record holds the whole)")
    assert len(tracking_db.history(workspace, plan, run.info.run_id, "m4")) == 300


@pytest.mark.parametrize("after", [5, pytest.param(2, marks=pytest.mark.slow), pytest.param(11, marks=pytest.mark.slow)])
def test_a_synchronisation_killed_half_way_is_completed_without_duplicates(
    fresh: tuple[Workspace, Plan], made: tuple[Workspace, Plan], after: int
) -> None:
    workspace, plan = fresh
    script = f"""
        import os, signal
        from mlflow import MlflowClient
        real, calls = MlflowClient.log_batch, []
        def dying(self, *args, **kwargs):
            real(self, *args, **kwargs)
            calls.append(args)
            if len(calls) == {after}:
                os.kill(os.getpid(), signal.SIGKILL)
        MlflowClient.log_batch = dying
        sync.synchronise(workspace, plan)
    """
    killed = _in_process(script, workspace)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert "RUNNING" in {r.info.status for r in tracking_db.runs(workspace, plan)}
    done = replay(workspace, plan)
    assert len(done.logged) == len(EXPECTED) - (after - 1)
    found = tracking_db.by_name(workspace, plan)
    assert set(found) == EXPECTED
    everything = [*found.values(), *tracking_db.runs(workspace, plan, "pipeline")]
    assert {r.info.status for r in everything} == {"FINISHED"}
    assert len(everything) == len(EXPECTED) + 1
    assert _points(workspace) == _points(made[0])


@pytest.mark.slow
def test_a_database_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed when its tables are made, before it takes its place: the next one begins anew and leaves nothing behind."""
    workspace, plan = Workspace(tmp_path), build.make_plan(encoders=1, seeds=1)
    build.populate(workspace, plan)
    dying = "import os, signal; os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    killed = _in_process(f"{dying}sync.replay(workspace, plan)", workspace)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "mlflow.db").exists()
    assert list(tmp_path.glob(".mlflow.db.new-*"))
    assert replay(workspace, plan).problems == []
    assert {p.name for p in tmp_path.glob("*mlflow.db*")} | {p.name for p in tmp_path.glob(".mlflow.db*")} == {
        "mlflow.db",
        "mlflow.db.lock",
    }


@pytest.mark.slow
def test_four_processes_at_first_use_of_a_fresh_database_write_each_run_once(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), build.make_plan()
    build.populate(workspace, plan)
    script = _script("done = sync.replay(workspace, plan); assert not done.problems; print(len(done.logged))", workspace)
    four = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=-1, stderr=-1, text=True) for _ in range(4)]
    outputs = [p.communicate() for p in four]
    assert [p.returncode for p in four] == [0] * 4, outputs
    assert sorted(int(out) for out, _ in outputs) == [0, 0, 0, len(EXPECTED)]
    assert set(tracking_db.by_name(workspace, plan)) == EXPECTED


def test_a_store_on_sqlite_lies_in_the_workspace_whatever_the_current_folder(tmp_path: Path) -> None:
    plan = build.make_plan()
    assert store.address(Workspace(tmp_path), plan.tracking) == f"sqlite:///{tmp_path}/mlflow.db"


def _in_process(code: str, workspace: Workspace) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _script(code, workspace)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _script(code: str, workspace: Workspace) -> str:
    head = f"""
        from pathlib import Path
        from flows.tracking import sync
        from stages.common.workspace import Workspace
        from tests.flows import workspace as build
        workspace, plan = Workspace(Path({str(workspace.root)!r})), build.make_plan()
    """
    return textwrap.dedent(head) + textwrap.dedent(code)


def _points(workspace: Workspace) -> list[tuple[object, ...]]:
    """How many points each metric of each run has: what a replay may neither lose nor double."""
    query = "select r.name, m.key, count(*), count(distinct m.step) from metrics m join runs r using (run_uuid) group by 1, 2"
    with sqlite3.connect(workspace.root / "mlflow.db") as database:
        return sorted(database.execute(query).fetchall())


def _dump(workspace: Workspace) -> list[str]:
    time.sleep(0.01)
    with sqlite3.connect(workspace.root / "mlflow.db") as database:
        return list(database.iterdump())


def test_which_runs_show_a_record_is_known_without_mlflow(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    named = {name: run.info.run_id for name, run in tracking_db.by_name(workspace, plan).items()}
    experiment = tracking_db.client(workspace, plan).get_experiment_by_name(plan.tracking.experiment).experiment_id
    found = {r.node: runs_of(workspace, plan.tracking, r) for r in read_all(workspace)[0]}
    page = f"http://127.0.0.1:5000/#/experiments/{experiment}/runs"
    assert found["pretrain/e0"] == ({s: named[f"pretrain/e0 seed {s}"] for s in "01"}, page, False)
    assert found["extract/e0"] == ({"": named["extract/e0"]}, page, False)
    assert {run for runs, _, _ in found.values() for run in runs.values()} == set(named.values())


def test_a_run_that_changed_nothing_fills_in_which_runs_show_what(made: tuple[Workspace, Plan]) -> None:
    workspace, plan = made
    (workspace.state / "runs.json").unlink()
    assert not up_to_date(workspace, plan.tracking)
    assert synchronise(workspace, plan) == [] and up_to_date(workspace, plan.tracking)
    elsewhere = build.make_plan(uri="sqlite:///other.db")
    assert runs_of(workspace, elsewhere.tracking, read_all(workspace)[0][0]) == ({}, "", False)
