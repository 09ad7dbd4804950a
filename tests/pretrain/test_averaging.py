"""Gradients are averaged over the ranks, in messages that leave while backward still runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.pretrain.core.averaging import Averaging
from stages.pretrain.core.distributed import World
from tests.pretrain.together import together

SIZE = 4


def work(world: World) -> dict[str, Any]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    unused = nn.Parameter(torch.ones(2))
    parameters = [*net.parameters(), unused]
    averaging = Averaging(parameters, most=24 * 4)  # bytes: 5 x 4 + 4 numbers fill one
    found: dict[str, Any] = {"buckets": [[p.numel() for p in b.parameters] for b in averaging.buckets], "sent": []}
    x = torch.arange(24.0).view(8, 3)[2 * world.rank : 2 * world.rank + 2] / 10

    def first_reached(_: Tensor) -> None:
        found["sent"].append(averaging._next)

    for part in x.split(1):  # accumulated batches
        if part is not x[:1] and len(found["sent"]) == 1:
            averaging.arm()
        hidden = net[1](net[0](part))
        hidden.register_hook(first_reached)
        (net[2:](hidden).square().sum() / 2).backward()
    averaging.finish()
    found["gradients"] = [p.grad.tolist() for p in net.parameters() if p.grad is not None]
    found["unused"] = unused.grad is None
    return found


def test_gradients_are_those_of_one_process_and_leave_before_backward_ends(tmp_path: Path) -> None:
    ranks = together(SIZE, tmp_path, work)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    (net(torch.arange(24.0).view(8, 3) / 10).square().sum() / 8).backward()
    for rank in ranks:
        for mine, parameter in zip(rank["gradients"], net.parameters(), strict=True):
            assert parameter.grad is not None
            assert mine == pytest.approx(parameter.grad.tolist(), rel=1e-5) if parameter.dim() == 1 else True
            assert torch.allclose(torch.tensor(mine), parameter.grad, rtol=1e-5)
        assert rank["unused"]
        assert rank["buckets"] == [[2, 2, 8, 4], [20], [5, 15]]
        assert rank["sent"] == [0, 0]  # the first bucket has a parameter without gradient: buckets leave in one order


def overlapping(world: World) -> list[int]:
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(3)])
    averaging = Averaging(net.parameters(), most=20 * 4)
    sent: list[int] = []
    hidden = net[0](torch.ones(2, 4))
    hidden.register_hook(lambda _: sent.append(averaging._next))
    averaging.arm()
    net[1:](hidden).sum().backward()
    averaging.finish()
    return [*sent, averaging._next]


def test_full_buckets_leave_while_backward_goes_on(tmp_path: Path) -> None:
    assert together(2, tmp_path, overlapping) == [[2, 3], [2, 3]]  # before the first layer is reached, at the end


def test_one_process_averages_nothing() -> None:
    layer = nn.Linear(2, 2)
    averaging = Averaging(layer.parameters())
    averaging.arm()
    layer(torch.ones(1, 2)).sum().backward()
    averaging.finish()
    assert not averaging.buckets and layer.weight.grad is not None and layer.weight.grad.tolist() == [[1, 1], [1, 1]]
