"""Two ranks that share a batch see the terms and gradients of one process, though their items differ in masked frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from stages.common import process
from stages.encoders.core.inputs import Padded
from stages.pretrain.core import distributed
from stages.pretrain.core.averaging import Averaging
from stages.pretrain.core.objective import Batch
from tests.pretrain.objectives.test_wav2vec2 import SAMPLES, batch, network, objective

LENGTHS = (SAMPLES, 1500, 700, 900)


def step() -> tuple[dict[str, float], list[float]]:
    """The terms of this process' share of four items, and the norms of the averaged gradients."""
    net = network()
    made = objective(net)
    whole = batch(*LENGTHS)
    x, index = whole.views[0], distributed.world().share(torch.arange(len(LENGTHS)))
    assert isinstance(x, Padded)
    key = type(whole.key)(0, 0, whole.key.sample[index])
    terms = made(net, Batch([Padded(x.x[index], x.lengths[index])], key, index))
    terms["total"].backward()
    parameters = [p for _, p in made.optimised(net)]
    Averaging(parameters).finish()
    return {name: float(v.detach()) for name, v in terms.items()}, [float(p.grad.norm()) for p in parameters]


def as_rank(rank: int, store: str) -> tuple[dict[str, float], list[float]]:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        return step()
    finally:
        dist.destroy_process_group()


def test_two_ranks_do_what_one_process_does(tmp_path: Path) -> None:
    terms, gradients = step()
    for found in process.per_seed(as_rank, range(2), str(tmp_path / "store"), jobs=2):
        assert found[0] == pytest.approx(terms, rel=1e-4)
        assert found[1] == pytest.approx(gradients, rel=1e-3, abs=1e-6)
