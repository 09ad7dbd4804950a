"""The stage as a process: killed and started again, without the libraries it does not need, with a user's mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stages.common import atomic, stage
from stages.common.schema import Part, as_plain
from stages.common.workspace import Workspace
from stages.extract.__main__ import inputs, target, work
from tests.builders import image_corpus
from tests.extract.conftest import whole_plan, write_encoder
from tests.killing import run_killed

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
BLOCKED = """
import importlib.abc, runpy, sys
# torch, numpy, pyarrow and safetensors, and what these themselves depend on
ALLOWED = {"torch", "torchgen", "functorch", "numpy", "pyarrow", "safetensors", "stages", "typing_extensions", "sympy",
           "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec"}
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        standard = top in sys.stdlib_module_names or top.startswith("_sysconfigdata")
        if top not in ALLOWED and not standard:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = ["extract", *sys.argv[1:]]
runpy.run_module("stages.extract", run_name="__main__")
"""


def write_plan(folder: Path, **node: object) -> None:
    atomic.write_json(folder / "plan.json", as_plain(whole_plan(**node)))


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, *(command or ("-m", "stages.extract")), "f", "--plan", "plan.json"]
    return subprocess.Popen(arguments, cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on_from_its_finished_shards_and_ends_in_the_same_bytes(workspace: Workspace) -> None:
    image_corpus(workspace.corpus("c"), n=2000)
    backbone = Part("resnet", {"width": 8, "blocks": [1, 1]})
    write_encoder(workspace.encoder("e"), workspace.corpus("c"), backbone=backbone, seeds=(0, 1))
    node = {"batch_size": 32, "shard_rows": 75}  # 27 shards that do not end where batches do
    write_plan(workspace.root, **node)
    stage.execute("extract", "f", whole_plan(**node), workspace, work, inputs, target)
    expected = atomic.manifest(workspace.features("f"))

    command = [sys.executable, "-m", "stages.extract", "f", "--plan", "plan.json"]
    run_killed(command, r"seed=1/part-00003", workspace.root / "hooks", workspace.root, ENVIRONMENT)
    left = list(workspace.state.glob("resume/extract/*/cpu/seed=1/part-*.parquet"))
    assert len(left) == 3
    written = {p.name: p.stat().st_mtime_ns for p in left}

    again = start(workspace.root)
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert atomic.manifest(workspace.features("f")) == expected
    made = {p.name: p.stat().st_mtime_ns for p in (workspace.features("f") / "seed=1").iterdir()}
    assert {name: made[name] for name in written} == written
    record = atomic.read_json(workspace.record("extract", "f") / "record.json")
    assert record["details"]["reused_shards"] == 27 + len(written)
    assert not list(workspace.state.glob("resume/extract/*"))


def test_it_runs_with_torch_numpy_pyarrow_and_safetensors_alone(workspace: Workspace) -> None:
    image_corpus(workspace.corpus("c"), n=20)
    write_encoder(workspace.encoder("e"), workspace.corpus("c"))
    write_plan(workspace.root)
    process = start(workspace.root, "-c", BLOCKED)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert errors == ""
    assert (workspace.features("f") / atomic.MANIFEST).exists()


def test_a_users_mistake_is_one_clear_error_and_exit_code_2(workspace: Workspace) -> None:
    image_corpus(workspace.corpus("c"), n=20)
    write_encoder(workspace.encoder("e"), workspace.corpus("c"))
    write_plan(workspace.root, rows="patch", layers=[0, 1])
    process = start(workspace.root)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("error: extract f: the chosen layers have several dimensions (0: 2, 1: 4)")
    assert "Traceback" not in errors
