"""Pretraining on a cluster: the bytes of one machine, or of torchrun's ranks, whatever dies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic
from stages.common.workspace import Workspace
from tests.builders import image_corpus
from tests.cluster.conftest import ROOT, Nodes, Start
from tests.pretrain.conftest import bytes_of, node

pytestmark = pytest.mark.ray
SNAPSHOTS = r"step=\d+$"


def plan(compute: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {"epochs": 16, "batch_size": 24, "snapshot_every": 4, "optim": {"lr": 0.002}} | changes
    return {"encoders": {"e": node(**settings)}, "compute": {"device": "cpu", **compute}}


def expected(root: Path, whole: dict[str, Any], *launcher: str) -> dict[str, bytes]:
    """What the stage makes on this machine, in a workspace of its own."""
    image_corpus(root / "data" / "corpora" / "squares", n=200)
    atomic.write_json(root / "plan.json", whole)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "stages.pretrain", "e", "--plan", "plan.json"]
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, timeout=240)
    return bytes_of(Workspace(root).encoder("e"))


def snapshots(workspace: Workspace) -> dict[str, int]:
    """The last whole snapshot of each seed while the stage runs."""
    found: dict[str, int] = {}
    for path in workspace.state.glob("resume/pretrain/*/seed=*/step=*"):
        found[path.parent.name] = max(found.get(path.parent.name, 0), int(path.name[5:]))
    return found


def steps(renamed: dict[str, int], seed: str, last: int) -> dict[str, int]:
    """How often each snapshot up to a step was written."""
    mine = {name: count for name, count in renamed.items() if name.startswith(f"{seed}/")}
    return {name: count for name, count in mine.items() if int(re.sub(".*=", "", name)) <= last}


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_loss_of_a_node_changes_no_byte_and_training_goes_on_from_the_last_snapshot(
    tmp_path: Path, nodes: Nodes, start: Start, ranks: int
) -> None:
    seeds = [0, 1] if ranks == 1 else [0]
    launcher = [] if ranks == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    wanted = expected(tmp_path / "alone", plan({"jobs": 1}, seeds=seeds), *launcher)
    workspace = Workspace(tmp_path / "cluster")
    image_corpus(workspace.corpus("squares"), n=200)
    nodes.add(2)
    compute = {"ray": {"address": nodes.address}, "ranks": {"count": ranks}}
    running = start(workspace.root, "pretrain", "e", plan(compute, seeds=seeds), SNAPSHOTS)
    running.wait_until(lambda: len(snapshots(workspace)) == len(seeds) and min(snapshots(workspace).values()) >= 12)
    nodes.kill()
    before = snapshots(workspace)
    nodes.add(1)
    errors = running.errors()
    assert running.process.returncode == 0, errors
    assert bytes_of(workspace.encoder("e")) == wanted
    details = atomic.read_json(workspace.record("pretrain", "e") / "record.json")["details"]
    assert details["processes"] == ranks
    assert details["resumed_at_step"]
    for seed, step in details["resumed_at_step"].items():
        assert step >= before[f"seed={seed}"]
        assert set(steps(running.renamed, f"seed={seed}", before[f"seed={seed}"]).values()) == {1}


def test_a_mistake_in_a_rank_is_one_clear_error(tmp_path: Path, nodes: Nodes, start: Start) -> None:
    workspace = Workspace(tmp_path)
    image_corpus(workspace.corpus("squares"), n=200)
    nodes.add(2)
    compute = {"ray": {"address": nodes.address}, "ranks": {"count": 2}}
    running = start(workspace.root, "pretrain", "e", plan(compute, batch_size=25), SNAPSHOTS)
    errors = running.errors()
    assert running.process.returncode == 2
    assert errors.startswith("error: pretrain e: a batch of 25 does not divide among 2 processes")
    assert "Traceback" not in errors
