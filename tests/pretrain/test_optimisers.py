"""Optimisers against torch's own and plain loops; the schedule against its formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from stages.common.plan import OptimPlan
from stages.pretrain.core.optimisers import KINDS, TRUST, rate


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).double()


def descend(module: nn.Module, step: Any, steps: int = 12) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for i in range(steps):
        x = torch.randn(8, 4, generator=generator, dtype=torch.float64)
        for p in module.parameters():
            p.grad = None
        module(x).square().sum().backward()
        step(i)
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize(("name", "everything"), [("adamw", False), ("adamw", True), ("sgd", False), ("sgd", True)])
def test_adamw_and_sgd_are_those_of_torch(name: str, everything: bool) -> None:
    plan = OptimPlan(name=name, lr=0.03, weight_decay=0.1, decay_norm_and_bias=everything)  # type: ignore[arg-type]
    mine, theirs = net(), net()
    own = KINDS[name](plan, mine.named_parameters())
    groups = [
        {"params": [p for p in theirs.parameters() if p.dim() > 1 or everything], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.dim() <= 1 and not everything], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    torchs: Any = torch.optim.AdamW(groups, lr=0.03) if name == "adamw" else torch.optim.SGD(groups, lr=0.03, momentum=0.9)
    torch.testing.assert_close(
        descend(mine, lambda _: own.step(0.03)), descend(theirs, lambda _: torchs.step()), atol=1e-12, rtol=1e-10
    )


def test_lars_follows_its_algorithm_step_by_step() -> None:
    plan = OptimPlan(name="lars", lr=0.5, weight_decay=0.01, momentum=0.8)
    mine, slow = net(), net()
    own = KINDS["lars"](plan, mine.named_parameters())
    velocity = {n: torch.zeros_like(p) for n, p in slow.named_parameters()}

    def by_hand(_: int) -> None:
        with torch.no_grad():
            for n, w in slow.named_parameters():
                g, local, decay = w.grad, 1.0, 0.0
                assert g is not None
                if w.dim() > 1:
                    decay = 0.01
                    norm_w, norm_g = math.sqrt(float((w * w).sum())), math.sqrt(float((g * g).sum()))
                    local = TRUST * norm_w / (norm_g + decay * norm_w)
                velocity[n] = 0.8 * velocity[n] + 0.5 * local * (g + decay * w)
                w -= velocity[n]

    torch.testing.assert_close(descend(mine, lambda _: own.step(0.5)), descend(slow, by_hand), atol=1e-12, rtol=1e-10)


def test_lars_does_not_divide_by_a_zero_norm() -> None:
    weight = nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    KINDS["lars"](OptimPlan(name="lars", weight_decay=0.0), [("w", weight)]).step(0.1)
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.1))


@pytest.mark.parametrize("name", sorted(KINDS))
def test_an_optimiser_goes_on_from_its_state(name: str) -> None:
    plan = OptimPlan(name=name, lr=0.02)  # type: ignore[arg-type]
    whole, broken = net(), net()
    one, first = KINDS[name](plan, whole.named_parameters()), KINDS[name](plan, broken.named_parameters())
    second = KINDS[name](plan, broken.named_parameters())

    def halves(i: int) -> None:
        if i == 6:
            second.load(first.state())
        (first if i < 6 else second).step(0.02)

    for a, b in zip(descend(whole, lambda _: one.step(0.02)), descend(broken, halves)):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_parameter_without_gradient_is_left_alone(name: str) -> None:
    idle, busy = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    busy.grad = torch.ones(2, 2)
    KINDS[name](OptimPlan(name=name, weight_decay=0.5), [("idle", idle), ("busy", busy)]).step(0.1)  # type: ignore[arg-type]
    assert torch.equal(idle.detach(), torch.ones(2, 2)) and not torch.equal(busy.detach(), torch.ones(2, 2))


def test_the_rate_warms_up_linearly_then_falls_along_a_cosine() -> None:
    plan = OptimPlan(lr=2.0, warmup=0.1, final_lr=0.25)
    rates = [rate(plan, i, 100) for i in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0
    assert rates[55] == pytest.approx((2.0 + 0.5) / 2)  # half way down
    assert rates[99] == pytest.approx(0.5, abs=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_constant_rate_stays_after_warm_up() -> None:
    plan = OptimPlan(lr=1.0, warmup=0.2, schedule="constant")
    assert [rate(plan, i, 10) for i in range(10)] == [0.5] + [1.0] * 9


def test_no_warm_up_and_a_single_step_are_possible() -> None:
    assert rate(OptimPlan(lr=1.0, warmup=0.0), 0, 1) == 1.0
