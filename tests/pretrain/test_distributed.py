"""Ranks that share every batch do what one process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.common import process, registry
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.pretrain.core import distributed
from stages.pretrain.core.averaging import Averaging
from stages.pretrain.core.batch_norm import synchronise_batch_norm
from stages.pretrain.core.distributed import World
from stages.pretrain.core.objective import Batch, Objective
from stages.views.core.base import Key
from tests.builders import image_corpus
from tests.pretrain.conftest import Pretrain, node

ROOT = Path(__file__).resolve().parents[2]
SIZE = 2
OBJECTIVES = [
    {"name": "simclr", "hidden": 8, "out": 4},
    {"name": "vicreg", "hidden": 8, "out": 4},
    {"name": "lejepa", "hidden": 8, "out": 4, "slices": 8},
    {"name": "moco", "hidden": 8, "out": 4, "queue": 30, "temperature": 0.2, "momentum": 0.9},
]

RATES = {"simclr": 0.05, "vicreg": 0.002, "lejepa": 0.05, "moco": 0.05}  # VICReg's terms weigh 25 times as much


def losses(objective: dict[str, Any], steps: int = 20) -> list[float]:
    """Gradient descent by this process' share of batches of 12 pictures, batch norm and all."""
    torch.manual_seed(0)
    column = Column("image", "media", "pixels", shape=[6, 6, 1])
    net = encoders.new(Part("image"), Part("resnet", {"width": 4, "blocks": [1]}), column, Path())
    head: Objective = registry.make("objective", Part.of(objective, "objective"), net)
    for module in (net, head):
        synchronise_batch_norm(module)
        module.train()
    found, generator = [], torch.Generator().manual_seed(1)
    parameters = dict(head.optimised(net))
    for step in range(steps):
        views = [torch.rand(12, 1, 6, 6, generator=generator) for _ in range(2)]
        index = distributed.world().share(torch.arange(12))
        total = head(net, Batch([v[index] for v in views], Key(0, 0, index), index))["total"]
        total.backward()
        Averaging(parameters.values()).finish()
        with torch.no_grad():
            for p in parameters.values():
                if p.grad is not None:
                    p -= RATES[objective["name"]] * p.grad
                    p.grad = None
        head.after_step(net, step + 1, steps)
        found.append(total.item())
    net.eval()  # running statistics
    found.append(net(torch.full((1, 1, 6, 6), 0.5)).sum().item())
    return found


def as_rank(rank: int, store: str) -> dict[str, Any]:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=SIZE)
    try:
        x = torch.full((2, 3), float(rank + 1), requires_grad=True)
        joined = distributed.gather(x)
        (joined * torch.arange(12.0).view(4, 3)).sum().backward()
        told = ""
        if rank == 0:
            distributed.announce("müller")
        else:
            told = distributed.listen()
        curves = {o["name"]: losses(o) for o in OBJECTIVES}
        assert x.grad is not None
        return {"joined": joined.tolist(), "gradient": x.grad.tolist(), "told": told, "curves": curves}
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return process.per_seed(as_rank, range(SIZE), str(tmp_path_factory.mktemp("store") / "store"), jobs=SIZE)


def test_gathering_joins_in_rank_order_and_adds_the_ranks_gradients(ranks: list[dict[str, Any]]) -> None:
    for rank in range(SIZE):
        assert ranks[rank]["joined"] == [[1.0] * 3] * 2 + [[2.0] * 3] * 2
        share = torch.arange(12.0).view(4, 3)[2 * rank : 2 * rank + 2]
        assert ranks[rank]["gradient"] == (SIZE * share).tolist()
    assert ranks[1]["told"] == "müller"


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o["name"])
def test_the_loss_curve_of_two_ranks_is_that_of_one_process(ranks: list[dict[str, Any]], objective: dict[str, Any]) -> None:
    alone = losses(objective)
    for rank in ranks:
        assert rank["curves"][objective["name"]] == pytest.approx(alone, rel=1e-4)
    assert max(alone[:20]) - min(alone[:20]) > 1e-3 * abs(alone[0])  # it moved: the comparison is of more than a constant


def test_one_process_gathers_nothing_and_keeps_torchs_batch_norm() -> None:
    x, layer = torch.randn(4, 3), nn.BatchNorm1d(3)
    synchronise_batch_norm(layer)
    assert distributed.gather(x) is x and "forward" not in vars(layer)
    assert distributed.world() == World(0, 1)


def test_shares_of_a_batch_are_consecutive() -> None:
    index = torch.tensor([5, 3, 8, 1])
    parts: list[Tensor] = [World(rank, 2).share(index) for rank in range(2)]
    assert [p.tolist() for p in parts] == [[5, 3], [8, 1]]


def test_a_batch_that_the_ranks_cannot_share_is_the_users_mistake(pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: World(0, 3))
    with pytest.raises(UserError, match="a batch of 16 does not divide among 3 processes"):
        pretrain()


@pytest.mark.slow
def test_under_torchrun_the_stage_gives_the_history_of_one_process(tmp_path: Path) -> None:
    found = []
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(SIZE)]
    for name, command in (("one", [sys.executable]), ("two", launcher)):
        root = tmp_path / name
        image_corpus(root / "data" / "corpora" / "squares", n=200)
        plan = {"encoders": {"e": node(epochs=4, batch_size=24, snapshot_every=3, optim={"lr": 0.002})}, "compute": {"jobs": 1}}
        (root / "plan.json").write_text(json.dumps(plan))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        run = [*command, "-m", "stages.pretrain", "e", "--plan", "plan.json"]
        subprocess.run(run, cwd=root, env=environment, check=True, capture_output=True, timeout=180)
        record = json.loads((root / "data/records/pretrain/e/record.json").read_text())
        assert record["details"]["processes"] == (1 if name == "one" else SIZE)
        found.append(pq.read_table(root / "data/encoders/e/seed=0/history.parquet").to_pylist())
    one, two = ([(r["step"], r["name"]) for r in rows] for rows in found)
    assert one == two and one[-1][0] == 20
    for a, b in zip(*found, strict=True):
        if a["name"] == "total":
            assert b["value"] == pytest.approx(a["value"], rel=1e-4)
