"""LARS as SimCLR trains with it: against NumPy loops on a network with convolutions, and by what defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from stages.common.plan import OptimPlan
from stages.common.schema import build
from stages.pretrain.core.optimisers import LARS, TRUST, rate
from tests.oracles import simclr as slow
from tests.pretrain.test_params import PARAMS


def net() -> nn.Sequential:
    """Convolution, batch norm, a linear layer with a bias: each kind of parameter that SimCLR has."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4)]
    return nn.Sequential(*layers).double()


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    return {n: p.detach().numpy().copy() for n, p in module.named_parameters()}


def gradients(module: nn.Module, step: int, scale: float = 1.0) -> dict[str, np.ndarray]:
    for p in module.parameters():
        p.grad = None
    x = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    (scale * module(x).square().sum()).backward()
    return {n: p.grad.numpy().copy() for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_its_updates_are_those_of_numpy_loops_along_the_whole_schedule(decay: float) -> None:
    plan, steps = OptimPlan(name="lars", lr=3.0, weight_decay=decay, momentum=0.9, warmup=0.25), 8
    module = net()
    own = LARS(plan, module.named_parameters())
    loops = slow.Lars(arrays(module), {"1.weight", "1.bias", "4.bias"}, 0.9, decay)
    for step in range(steps):
        loops.step(gradients(module, step), rate(plan, step, steps))
        own.step(rate(plan, step, steps))
        for name, mine in arrays(module).items():
            np.testing.assert_allclose(mine, loops.w[name], rtol=1e-10, atol=1e-12, err_msg=f"{name} at step {step}")


def test_the_first_step_of_a_layer_is_a_fixed_share_of_its_weights_length_whatever_the_gradients_scale() -> None:
    lengths: list[list[float]] = []
    for scale in (1e-3, 1.0, 1e3):
        module = net()
        before = arrays(module)
        gradients(module, 0, scale)
        LARS(OptimPlan(name="lars", weight_decay=0.0), module.named_parameters()).step(2.0)
        after = arrays(module)
        adapted = [n for n in before if before[n].ndim > 1]
        lengths.append([float(np.linalg.norm(after[n] - before[n]) / np.linalg.norm(before[n])) for n in adapted])
    np.testing.assert_allclose(lengths, 2.0 * TRUST, rtol=1e-9)


def test_biases_and_batch_norm_take_a_plain_step_without_decay() -> None:
    module = net()
    before, gradient = arrays(module), gradients(module, 0)
    LARS(OptimPlan(name="lars", weight_decay=0.3), module.named_parameters()).step(0.01)
    for name in ("1.weight", "1.bias", "4.bias"):
        np.testing.assert_allclose(arrays(module)[name], before[name] - 0.01 * gradient[name], rtol=1e-12)


def test_the_group_lars_holds_the_papers_settings() -> None:
    """Chen et al. 2020, sec. 2.2: lr 0.3 x batch / 256 (256 here), weight decay 1e-6, cosine without restarts."""
    data: dict[str, Any] = yaml.safe_load((PARAMS / "optim/lars.yaml").read_text())
    plan = build(OptimPlan, data, "lars.yaml")
    assert (plan.lr, plan.weight_decay, plan.momentum, plan.schedule, plan.final_lr) == (0.3, 1e-6, 0.9, "cosine", 0.0)
    assert not plan.decay_norm_and_bias
