"""The synchronisation with MLflow killed at random moments: the next one ends in what an undisturbed one shows."""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.common.workspace import Workspace
from tests.flows import tracking_db
from tests.flows import workspace as build

ROOT = Path(__file__).resolve().parents[2]
KILLS = 30
# It says when its libraries are loaded: from then on it is at work.
REPLAY = """
import sys
from pathlib import Path
import mlflow
from flows.tracking import sync
from stages.common.workspace import Workspace
from tests.flows import workspace as build

workspace, plan = Workspace(Path(sys.argv[1])), build.make_plan()
print("loaded", flush=True)
done = sync.replay(workspace, plan, run_name="run")
assert not done.problems, done.problems
"""
# Whatever a person sees of a run: never a run, a step of a metric or a parameter twice.
SHOWN = {
    "runs": "select name, status from runs",
    "metrics": "select name, key, step, value from metrics join runs using (run_uuid)",
    "params": "select name, key, value from params join runs using (run_uuid)",
    "inputs": "select name, count(*) from inputs join runs on destination_id = run_uuid group by name",
}


def replaying(root: Path) -> subprocess.Popen[str]:
    """A synchronisation that is about to begin."""
    process = subprocess.Popen([sys.executable, "-c", REPLAY, str(root)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "loaded\n"
    return process


def shown(root: Path) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as opened:
        return {what: sorted(opened.execute(f"{query}")) for what, query in SHOWN.items()}


@pytest.mark.soak
def test_a_synchronisation_killed_at_thirty_random_moments(tmp_path: Path) -> None:
    """Every fifth finds no database, so that it is killed while MLflow makes its tables, too."""
    whole = tmp_path / "whole"
    whole.mkdir()
    build.populate(Workspace(whole), build.make_plan())
    assert replaying(whole).wait() == 0
    expected, draw = shown(whole), random.Random("kill the tracker")
    assert len(expected["metrics"]) == len(set(expected["metrics"])) > 50
    empty = tracking_db.emptied(whole / "mlflow.db", tmp_path / "empty.db")
    took: dict[bool, float] = {}
    for number in range(KILLS + 2):
        killed, fresh = tmp_path / f"{number}", number % 5 == 0
        shutil.copytree(whole, killed, ignore=shutil.ignore_patterns("mlflow.db*", ".prelude"))
        if not fresh:
            shutil.copy(empty, killed / "mlflow.db")
        process, started = replaying(killed), time.monotonic()
        if fresh not in took:  # the first of each sort is not killed
            assert process.wait() == 0
            took[fresh] = time.monotonic() - started
            continue
        time.sleep(draw.uniform(0, took[fresh]))
        process.kill()
        process.wait()
        assert replaying(killed).wait() == 0
        assert shown(killed) == expected, f"kill {number}"
        shutil.rmtree(killed)
