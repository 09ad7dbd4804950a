"""State files cut at any byte, or with a flipped bit: a clear error, or a rebuild to the same bytes; no silent success."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows import state, verify
from flows.dag import Dag
from flows.pipeline import run
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.flows import toy
from tests.flows import workspace as build

ROOT = Path(__file__).resolve().parents[2]
FEW, MANY = 6, 100


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A toy project that ran, and its outputs with dvc.lock."""
    project = toy.create(tmp_path_factory.mktemp("state") / "p")
    assert again(project)
    toy.ran(project)
    return project, toy.outputs(project)


def again(project: Path) -> bool:
    return run(root=project, prefect=False, say=lambda line: None).ok


def rebuilt(project: Path) -> None:
    """A run, after a repair where it is refused. Nothing is computed: DVC's run cache knows every stage."""
    try:
        assert again(project)
    except UserError as refused:
        assert refused.do, refused
        found = verify.check(project).found
        assert [d.kind for d in found] == ["state"], refused
        verify.repair(project, found)
        assert again(project)


@pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
@pytest.mark.parametrize("fault", ["cut", "flip"])
def test_a_dvc_lock_that_was_damaged_is_made_again_without_computing(
    finished: tuple[Path, dict[str, bytes]], fault: str, times: int
) -> None:
    project, whole = finished
    lock, draw = project / "dvc.lock", random.Random(fault)
    for _ in range(times):
        place = draw.randrange(lock.stat().st_size - 1)
        if fault == "cut":
            lock.write_bytes(whole["dvc.lock"][:place])
            rebuilt(project)
        else:
            damaged = bytearray(whole["dvc.lock"])
            damaged[place] ^= 1 << draw.randrange(8)
            lock.write_bytes(damaged)
            rebuilt(project)
        assert toy.outputs(project) | {"dvc.lock": b""} == whole | {"dvc.lock": b""}, f"{fault} at {place}"
        assert toy.ran(project) == [], f"{fault} at {place}"
        assert Dag(project).stages() and "up to date" in toy.dvc(project, "status")
        lock.write_bytes(whole["dvc.lock"])


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.soak)])
def test_a_dvc_lock_cut_at_any_byte_cannot_be_read_or_its_stages_have_changed(
    finished: tuple[Path, dict[str, bytes]], step: int
) -> None:
    """A stage passes for up to date only where its entry names the whole one's command and bytes: sizes are for people."""
    project, whole = finished
    lock, entries = project / "dvc.lock", _named(whole["dvc.lock"])
    unreadable = partial = 0
    for length in range(0, len(whole["dvc.lock"]) - 1, step):
        lock.write_bytes(whole["dvc.lock"][:length])
        if list(state.damaged(project)):
            unreadable += 1
            continue
        dag, left = Dag(project), _named(whole["dvc.lock"][:length])
        for node in dag.stages():
            if left.get(node.name) != entries[node.name]:
                partial += 1
                assert dag.changed(node), f"{node.name} is up to date by an entry cut at {length}"
    lock.write_bytes(whole["dvc.lock"])
    assert unreadable and partial


def _named(lock: bytes) -> dict[str, object]:
    """Of each stage what DVC goes by: command, parameters, and the hash of every input and output."""
    stages = (yaml.safe_load(lock) or {}).get("stages") or {}
    return {
        name: (
            entry.get("cmd"),
            entry.get("params"),
            [(i["path"], i.get("md5")) for k in ("deps", "outs") for i in entry.get(k) or []],
        )
        for name, entry in stages.items()
    }


REPLAY = """
import sys
from pathlib import Path
from flows.tracking import sync
from stages.common.workspace import Workspace
from tests.flows import tracking_db
from tests.flows import workspace as build

workspace, plan = Workspace(Path(sys.argv[1])), build.make_plan(encoders=1, seeds=1)
problems = sync.replay(workspace, plan).problems
print(problems or sorted(tracking_db.by_name(workspace, plan)))
"""


def replayed(root: Path) -> str:
    """What MLflow shows after a synchronisation, or its problems; by a process of its own, since MLflow keeps files open."""
    done = subprocess.run([sys.executable, "-c", REPLAY, str(root)], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("times", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_a_damaged_database_of_mlflow_is_told_and_filled_again_after_a_repair(tmp_path: Path, times: int) -> None:
    workspace, plan = Workspace(tmp_path), build.make_plan(encoders=1, seeds=1)
    build.populate(workspace, plan)
    expected = replayed(tmp_path)
    database, draw = tmp_path / "mlflow.db", random.Random("mlflow")
    shutil.copy(database, tmp_path / "kept")
    size = database.stat().st_size
    for _ in range(times):
        length = draw.randrange(1, size - 1)
        with database.open("r+b") as file:
            file.truncate(length)
        (found,) = [d for d in verify.check(tmp_path).found if d.kind == "state"]
        assert found.path == str(database) and "SQLite says" in found.why
        verify.repair(tmp_path, [found])
        assert not database.exists()
        shutil.copy(tmp_path / "kept", database)
    with database.open("r+b") as file:
        file.truncate(size // 2)
    assert "the database is damaged" in replayed(tmp_path)
    verify.repair(tmp_path, verify.check(tmp_path).found)
    assert replayed(tmp_path) == expected


def test_other_state_that_was_cut_stops_nobody(finished: tuple[Path, dict[str, bytes]]) -> None:
    """What runs remember below .prelude/ (which runs MLflow shows, marks, notes) is made again where it cannot be read."""
    project, whole = finished
    kept = [
        p for p in (project / ".prelude").rglob("*") if p.is_file() and p.suffix in (".json", ".jsonl") and p.stat().st_size
    ]
    assert kept
    for path in kept:
        before = path.read_bytes()
        for length in (0, 1, len(before) // 2, len(before) - 2):
            path.write_bytes(before[:length])
            assert again(project), f"{path} of {length} bytes"
    assert toy.outputs(project) == whole
