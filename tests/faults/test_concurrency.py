"""Eight at once: one computes, all end well, all see the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common.workspace import Workspace
from tests.faults import pipeline
from tests.flows import toy, tracking_db
from tests.flows import workspace as build
from tests.flows.trouble import Background

EIGHT = 8
STAGE = """
import hashlib, sys
from pathlib import Path
from stages.{stage}.__main__ import main
code = main(["{key}", "--plan", "{plan}"])
digest = hashlib.sha256()
for path in sorted(Path("{target}").rglob("*")):
    digest.update(path.read_bytes() if path.is_file() else b"")
print(code, digest.hexdigest())
"""


@pytest.mark.soak
def test_of_eight_runs_that_want_the_same_nodes_one_computes_them(tmp_path: Path) -> None:
    project = toy.create(tmp_path / "p")
    runs = [Background(project, "--no-prefect", "--wait") for _ in range(EIGHT)]
    try:
        assert [run.end(300) for run in runs] == [0] * EIGHT, [run.said() for run in runs]
        said = [run.said() for run in runs]
    finally:
        for run in runs:
            run.__exit__()
    assert sorted(toy.ran(project)) == ["a", "b", "counted", "joined"]
    assert sum("4 ran, 0 cached" in text for text in said) == 1
    assert sum("0 ran, 4 cached" in text for text in said) == EIGHT - 1
    assert "up to date" in toy.dvc(project, "status")


@pytest.mark.soak
def test_eight_processes_of_one_stage_wait_for_each_other_and_each_sees_whole_bytes(made: Path) -> None:
    """Below DVC nothing knows that a node is done already: each makes it in its turn, and finds the same bytes at its end."""
    target = pipeline.target(made, "extract").relative_to(made)
    code = STAGE.format(stage="extract", key=pipeline.NODES["extract"], plan=pipeline.PLAN, target=target)
    environment = {**os.environ, "PYTHONPATH": str(pipeline.ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=made, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(EIGHT)
    ]
    said = {p.communicate()[0].strip() for p in processes}
    digest = hashlib.sha256()
    for path in sorted((made / target).rglob("*")):
        digest.update(path.read_bytes() if path.is_file() else b"")
    assert said == {f"0 {digest.hexdigest()}"}
    assert pipeline.strays(made) == []


@pytest.mark.soak
def test_eight_processes_at_the_first_use_of_a_fresh_mlflow_database_lose_nothing(tmp_path: Path) -> None:
    workspace, plan = Workspace(tmp_path), build.make_plan()
    build.populate(workspace, plan)
    code = (
        "from pathlib import Path\nfrom flows.tracking import sync\nfrom stages.common.workspace import Workspace\n"
        "from tests.flows import workspace as build\n"
        f"done = sync.replay(Workspace(Path({str(tmp_path)!r})), build.make_plan())\n"
        "assert not done.problems, done.problems\nprint(len(done.logged))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=pipeline.ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(EIGHT)
    ]
    logged = sorted(int(p.communicate()[0]) for p in processes)
    assert [p.returncode for p in processes] == [0] * EIGHT
    assert logged[:-1] == [0] * (EIGHT - 1)
    assert len(tracking_db.by_name(workspace, plan)) == logged[-1] > 0
