"""Masks and means of the whole batch: two ranks that share it see the terms and gradients of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import registry
from stages.common.column import Column
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.pretrain.core import distributed
from stages.pretrain.core.averaging import Averaging
from stages.pretrain.core.distributed import World, balance
from stages.pretrain.core.objective import Batch, Objective
from stages.views.core.base import Key
from tests.pretrain.together import together

PICTURE = ({"name": "image"}, Column("image", "media", "pixels", shape=[16, 16, 1]))
VIT = {"name": "vit", "patch": 2, "dim": 8, "depth": 1, "heads": 2, "pool": "mean"}
SMALL = {"predictor_dim": 8, "predictor_depth": 1, "predictor_heads": 2}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "i_jepa": (VIT, {"name": "i_jepa", **SMALL}),
    "i_jepa, random": (VIT, {"name": "i_jepa", "masks": "random", **SMALL}),
    "mae": (VIT, {"name": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}),
}


def result(world: World, name: str) -> dict[str, Any]:
    """The terms of a batch of 8 and the gradients' norms, of all ranks."""
    backbone, objective = CASES[name]
    front, column = PICTURE
    torch.manual_seed(0)
    net = encoders.new(Part.of(front, "front"), Part.of(backbone, "backbone"), column, Path())
    head: Objective = registry.make("objective", Part.of(objective, "objective"), net)
    views = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    index = world.share(torch.arange(8))
    terms = head(net, Batch([views[index]], Key(3, 0, 100 + index), index))
    terms["total"].backward()
    parameters = dict(head.optimised(net))
    Averaging(parameters.values()).finish()
    means = {key: float(distributed.mean(value.detach().float())) for key, value in terms.items() if key != "spread"}
    return means | {key: float(p.grad.norm()) for key, p in parameters.items() if p.grad is not None}


def every(world: World) -> dict[str, Any]:
    return {name: result(world, name) for name in CASES} | {"balanced": balanced(world)}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return together(2, tmp_path_factory.mktemp("ranks"), every)


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_do_what_one_process_does(ranks: list[dict[str, Any]], name: str) -> None:
    alone = result(World(), name)
    for rank in ranks:
        assert rank[name] == pytest.approx(alone, rel=1e-4, abs=1e-7)
    assert len(alone) > 10


def balanced(world: World) -> list[float]:
    """The mean of 1 .. 6, of which rank 0 has one number and rank 1 the others; and that of none at all."""
    mine = torch.arange(1.0, 2.0) if world.leads else torch.arange(2.0, 7.0)
    means = [mine.mean() * balance(len(mine)), torch.zeros(()) * balance(0)]
    return [float(distributed.mean(m)) for m in means]


def test_a_mean_over_unequal_shares_is_that_over_all(ranks: list[dict[str, Any]]) -> None:
    assert [rank["balanced"] for rank in ranks] == [pytest.approx([3.5, 0.0])] * 2
    assert balance(7) == 1.0
