"""Trouble in a real pipeline, under `prelude run`: an interrupted pretraining, a database deleted in mid-run, a cut output."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from flows.tracking.marker import up_to_date
from stages.common.plan import load
from stages.common.workspace import Workspace
from tests.e2e.copy import Copy
from tests.flows import tracking_db
from tests.flows.trouble import Background, descendants, gone, interrupt

pytestmark = pytest.mark.slow
CUT = """
_main = main


def main(argv=None):
    import os, pathlib

    code = _main(argv)
    for file in pathlib.Path("data/corpora").rglob("*.parquet"):
        os.truncate(file, file.stat().st_size // 2)
    return code
"""


STUBBORN = """

def main(argv=None):
    import pathlib, signal, time

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pathlib.Path("waiting").touch()
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A tiny plan whose pretraining takes some seconds, nothing run."""
    made = Copy(tmp_path_factory.mktemp("trouble") / "repository")
    made.prelude("plan", "tiny", "-s", "encoders.simclr.epochs=24")  # of 5 steps, a snapshot every 2
    return made


@pytest.fixture(scope="module")
def resumed(copy: Copy) -> list[bytes]:
    """Each seed's weights after a pretraining that Ctrl+C stopped within five seconds, and that was run again."""
    with background(copy, "pretrain@simclr") as run:
        run.until(lambda: seeds_with_a_snapshot(copy) == {"seed=0", "seed=1"})
        sent = time.monotonic()
        stage = [pid for pid in descendants(run.process.pid) if os.getsid(pid) != run.process.pid]
        assert len(stage) >= 3  # the stage, and a process for each seed
        interrupt(run, signal.SIGINT)
        run.until(lambda: all(gone(pid) for pid in stage))
        assert time.monotonic() - sent < 5
        assert run.end() == 130, run.said()
    assert not (copy.folder / "data/encoders/simclr").exists()
    assert "1 ran, 1 cached" in copy.prelude("run", "--no-prefect", "pretrain@simclr")
    assert resumed_at(copy).keys() == {"0", "1"}
    return weights(copy)


def background(copy: Copy, *words: str) -> Background:
    return Background(copy.folder, "--no-prefect", *words, environment=copy.env())


def seeds_with_a_snapshot(copy: Copy) -> set[str]:
    return {path.parent.name for path in copy.folder.glob(".prelude/resume/pretrain/**/step=*")}


def resumed_at(copy: Copy) -> dict[str, int]:
    record = json.loads((copy.folder / "data/records/pretrain/simclr/record.json").read_text())
    return dict(record["details"]["resumed_at_step"])


def weights(copy: Copy) -> list[bytes]:
    return [(copy.folder / f"data/encoders/simclr/seed={s}/encoder.safetensors").read_bytes() for s in (0, 1)]


def test_a_resumed_pretraining_ends_in_the_bytes_of_an_unbroken_one_whose_database_was_deleted(
    copy: Copy, resumed: list[bytes]
) -> None:
    with background(copy, "--force", "pretrain@simclr") as run:
        run.until(lambda: seeds_with_a_snapshot(copy))
        database = copy.folder / "mlflow.db"
        run.until(database.exists)
        for file in copy.folder.glob("mlflow.db*"):
            file.unlink()
        assert run.end() == 0, run.said()
        assert "2 ran" in run.said()
    assert resumed_at(copy) == {} and weights(copy) == resumed

    workspace, plan = Workspace(copy.folder), load(copy.folder / "params.yaml")
    assert "0 ran, 2 cached" in copy.prelude("run", "--no-prefect", "pretrain@simclr")
    names = {"ingest/digits", "pretrain/simclr seed 0", "pretrain/simclr seed 1"}
    assert tracking_db.by_name(workspace, plan).keys() == names
    assert up_to_date(workspace, plan.tracking)

    database.unlink()  # and between runs
    assert "0 ran, 2 cached" in copy.prelude("run", "--no-prefect", "pretrain@simclr")
    assert "FINISHED" in {run.info.status for run in tracking_db.by_name(workspace, plan).values()}
    assert "up to date" in copy.dvc("status", "pretrain@simclr")


def test_an_output_cut_short_with_exit_code_0_is_no_result(copy: Copy) -> None:
    copy.prelude("run", "--no-prefect", "ingest@digits")
    stage = copy.folder / "stages/ingest/__main__.py"
    whole = stage.read_text()
    stage.write_text(whole + CUT)
    said = copy.prelude("run", "--no-prefect", "ingest@digits", code=1)
    assert "it ended well, but its output is not whole" in said and "data/corpora/digits" in said
    stage.write_text(whole)
    assert "1 cached" in copy.prelude("run", "--no-prefect", "ingest@digits")  # nothing of it was committed
    assert "every output" in copy.prelude("verify")


def test_a_stage_that_ignores_sigterm_is_gone_within_five_seconds(copy: Copy) -> None:
    copy.prelude("run", "--no-prefect", "ingest@digits")
    stage = copy.folder / "stages/ingest/__main__.py"
    whole = stage.read_text()
    stage.write_text(whole + STUBBORN)
    with background(copy, "ingest@digits") as run:
        run.until((copy.folder / "waiting").exists)
        processes = [pid for pid in descendants(run.process.pid) if os.getsid(pid) != run.process.pid]
        assert processes
        sent = time.monotonic()
        interrupt(run, signal.SIGTERM)
        run.until(lambda: all(gone(pid) for pid in processes))
        assert 1 < time.monotonic() - sent < 5  # it was given time to tidy up
        assert run.end() == 130, run.said()
    stage.write_text(whole)
    assert "1 cached" in copy.prelude("run", "--no-prefect", "ingest@digits")
