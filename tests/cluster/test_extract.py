"""Extraction on a cluster: the bytes of one machine, whatever dies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic, stage
from stages.common.schema import Part, as_plain
from stages.common.workspace import Workspace
from stages.extract.__main__ import inputs, target, work
from tests.builders import image_corpus
from tests.cluster.conftest import Nodes, Start
from tests.extract.conftest import whole_plan, write_encoder

pytestmark = pytest.mark.ray
SHARDS = 16  # of each of two seeds
NODE = {"batch_size": 32, "shard_rows": 75}  # shards that do not end where batches do


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A corpus, an encoder of two seeds, and what extraction on this machine alone makes of them, set aside."""
    found = Workspace(tmp_path)
    image_corpus(found.corpus("c"), n=1200)
    write_encoder(found.encoder("e"), found.corpus("c"), backbone=Part("resnet", {"width": 8, "blocks": [1, 1]}), seeds=(0, 1))
    stage.execute("extract", "f", whole_plan(**NODE), found, work, inputs, target)
    shutil.move(found.features("f"), tmp_path / "expected")
    return found


def plan(nodes: Nodes) -> dict[str, Any]:
    return as_plain(whole_plan({"device": "cpu", "ray": {"address": nodes.address}}, **NODE))


def finished(workspace: Workspace) -> set[str]:
    """Shards that lie there whole while the stage runs."""
    return {f"{p.parent.name}/{p.name}" for p in workspace.state.glob("resume/extract/*/cpu/seed=*/part-*.parquet")}


def same(workspace: Workspace) -> bool:
    found = atomic.manifest(workspace.features("f"))
    return bool(found == atomic.manifest(workspace.root / "expected") and not atomic.damaged(workspace.features("f")))


def test_the_loss_of_a_node_changes_no_byte_and_no_finished_shard_is_computed_again(
    workspace: Workspace, nodes: Nodes, start: Start
) -> None:
    nodes.add(2)
    running = start(workspace.root, "extract", "f", plan(nodes))
    running.wait_until(lambda: len(finished(workspace)) >= 6)
    nodes.kill()
    before = finished(workspace)
    errors = running.errors()
    assert running.process.returncode == 0, errors
    assert same(workspace)
    after = running.renamed
    assert len(after) == 2 * SHARDS
    assert {after[name] for name in before} == {1}
    assert sum(after.values()) <= 2 * SHARDS + 1  # what the lost node had in hand


def test_a_killed_run_goes_on_with_the_shards_that_are_not_there(workspace: Workspace, nodes: Nodes, start: Start) -> None:
    nodes.add(2)
    running = start(workspace.root, "extract", "f", plan(nodes))
    running.wait_until(lambda: len(finished(workspace)) >= 6)
    running.kill()
    before = finished(workspace)
    again = start(workspace.root, "extract", "f", plan(nodes))
    errors = again.errors()
    assert again.process.returncode == 0, errors
    assert same(workspace)
    record = atomic.read_json(workspace.record("extract", "f") / "record.json")
    assert record["details"]["reused_shards"] >= len(before) >= 6
    assert {again.renamed[name] for name in before} == {1}
    assert sum(again.renamed.values()) <= 2 * SHARDS + 2  # what the two nodes had in hand


def test_a_users_mistake_on_a_node_is_one_clear_error(workspace: Workspace, nodes: Nodes, start: Start) -> None:
    nodes.add(1)
    running = start(
        workspace.root, "extract", "f", as_plain(whole_plan({"ray": {"address": nodes.address, "cpus": 2.0}}, **NODE))
    )
    errors = running.errors()
    assert running.process.returncode == 2
    assert errors.startswith("error: extract f: no machine of the cluster has 2 cores and 0 GPUs")
    assert "Traceback" not in errors
