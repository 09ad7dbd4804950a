"""Every published system: whole at `smoke`, through all stages in this process; and at `paper`, as far as a network is made."""

from __future__ import annotations

import functools
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from flows import compose
from stages.common import registry, tasks
from stages.common.plan import Plan
from stages.common.workspace import Workspace
from stages.encoders.core.encoder import load_card
from tests.systems.running import run

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def published() -> list[str]:
    """The systems with sizes of their own."""
    found = []
    for path in sorted((ROOT / "params/system").glob("*.yaml")):
        text = yaml.safe_load(path.read_text(encoding="utf-8"))
        if text["systems"][path.stem].get("scale"):
            found.append(path.stem)
    return found


@functools.cache
def plan(system: str, size: str) -> Plan:
    return compose.make(ROOT, [system], size=size)[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the systems run; nodes that they share are made once."""
    return tmp_path_factory.mktemp("systems")


@pytest.mark.parametrize("system", published())
def test_at_smoke_size_every_stage_runs_and_every_claim_gets_a_verdict(
    system: str, mirror: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRELUDE_MIRROR", str(mirror))
    torch.set_num_threads(1)
    whole, workspace = plan(system, "smoke"), Workspace(place / system)
    if any(corpus.reader.name == "smiles_table" for corpus in whole.corpora.values()):
        pytest.importorskip("rdkit", reason="molecules are read by rdkit, an extra")
    claims = run(whole, system, workspace)
    assert [c["id"] for c in claims] == list(whole.systems[system].claims)
    assert all(c["verdict"] in ("holds", "contradicted", "open") for c in claims)
    for key, task in whole.tasks_of(system).items():
        folder = workspace.task(system, key)
        tables = [p for p in folder.glob("*.parquet") if p.name != "predictions.parquet" and pq.read_metadata(p).num_rows]
        assert tasks.read_result(folder).metrics or tables, f"{key} has no figure, and no table as a map has"
        assert task.seeds
    for encoder, count in plan(system, "paper").systems[system].scale["paper"].parameters.items():
        assert weights(plan(system, "paper"), encoder, workspace) == count


def weights(whole: Plan, name: str, workspace: Workspace) -> int:
    """How many weights an encoder has at another size, made without memory for them on the corpus of the smoke run."""
    node = whole.encoders[name]
    folder = next((workspace.encoder(name)).glob("seed=*"))
    frontend = registry.make("frontend", node.frontend, load_card(folder).column, folder)
    with torch.device("meta"):
        backbone = registry.make("backbone", node.backbone, frontend)
    return sum(p.numel() for p in backbone.parameters())
