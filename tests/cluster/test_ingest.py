"""Ingest on a cluster: the bytes of one machine, whatever dies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common import atomic
from stages.common.workspace import Workspace
from tests.cluster.conftest import Nodes, Start
from tests.ingest.making import ingest, put, tone

pytestmark = pytest.mark.ray
BLOCKS = 12  # of four clips of 2 MiB


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, Any]:
    clips: dict[str, bytes | str] = {
        f"{'ab'[i % 2]}/{i:03d}.wav": tone(i, seconds=(2 << 20) / 16000 + 1) for i in range(4 * BLOCKS)
    }
    put(tmp_path / "files", clips | {"b/013.wav": b"no sound"})
    source = {"name": "folder", "path": str(tmp_path / "files")}
    return {
        "title": "made by a test",
        "source": source,
        "reader": {"name": "audio_folder", "rate": 4000},
        "labels": {"label": {"kind": "class"}},
        "quarantine_share": 0.1,
    }


def finished(workspace: Workspace) -> set[str]:
    return {f"{p.parent.name}/{p.name}" for p in workspace.state.glob("resume/ingest/*/*/block-*.arrow")}


def test_neither_a_lost_node_nor_a_killed_run_changes_a_byte_or_repeats_a_finished_block(
    tmp_path: Path, corpus: dict[str, Any], nodes: Nodes, start: Start
) -> None:
    expected = atomic.manifest(ingest(tmp_path / "alone", corpus).folder)
    workspace = Workspace(tmp_path / "cluster")
    nodes.add(2)
    plan = {"corpora": {"c": corpus}, "compute": {"ray": {"address": nodes.address}}}
    first = start(workspace.root, "ingest", "c", plan, r"block-\d+\.arrow$")
    first.wait_until(lambda: len(finished(workspace)) >= 3)
    first.kill()
    before = finished(workspace)
    second = start(workspace.root, "ingest", "c", plan, r"block-\d+\.arrow$", seconds=1.0)
    second.wait_until(lambda: len(finished(workspace)) >= len(before) + 2)
    nodes.kill()
    also = finished(workspace)
    errors = second.errors()
    assert second.process.returncode == 0, errors
    assert atomic.manifest(workspace.corpus("c")) == expected
    assert len(second.renamed) in (BLOCKS, BLOCKS + 1)
    assert {second.renamed[name] for name in also} == {1}
    record = atomic.read_json(workspace.record("ingest", "c") / "record.json")
    assert record["details"]["reused_blocks"] >= len(before)
