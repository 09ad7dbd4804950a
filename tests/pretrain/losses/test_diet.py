"""DIET's cross entropy over instances against the sum by hand and against closed forms."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.pretrain.objectives.diet import instance_cross_entropy, told_right
from tests.oracles import diet as slow

SMOOTHINGS = [0.0, 0.4, 0.8]


def made(items: int = 6, classes: int = 9, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(items, width, dtype=torch.float64, generator=generator)
    weight = torch.randn(classes, width, dtype=torch.float64, generator=generator)
    return h, weight, torch.randperm(classes, generator=generator)[:items]


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_the_loss_is_the_cross_entropy_with_the_smoothed_target(smoothing: float) -> None:
    h, weight, index = made()
    expected = slow.instance_cross_entropy(h.numpy(), weight.numpy(), index.tolist(), smoothing)
    assert float(instance_cross_entropy(h, weight, index, smoothing=smoothing)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_equal_logits_cost_log_n(smoothing: float) -> None:
    _, weight, index = made()
    nothing = torch.zeros(6, 4, dtype=torch.float64)
    assert float(instance_cross_entropy(nothing, weight, index, smoothing=smoothing)) == pytest.approx(math.log(9), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.4, 0.8])
def test_the_least_loss_is_the_entropy_of_the_target(smoothing: float) -> None:
    own, other = 1 - smoothing + smoothing / 9, smoothing / 9
    best = math.log(own / other) * torch.eye(9, dtype=torch.float64)  # softmax of it is the target
    floor = slow.entropy(9, smoothing)
    loss = functools.partial(instance_cross_entropy, weight=best, index=torch.arange(9), smoothing=smoothing)
    assert float(loss(torch.eye(9, dtype=torch.float64))) == pytest.approx(floor, rel=1e-12)
    for scale in (0.5, 0.9, 1.1, 2.0):
        assert float(loss(scale * torch.eye(9, dtype=torch.float64))) > floor


def test_without_smoothing_sure_logits_cost_nothing_and_with_it_they_cost_dearly() -> None:
    sure, index = 100 * torch.eye(9), torch.arange(9)
    assert float(instance_cross_entropy(torch.eye(9), sure, index, smoothing=0.0)) < 1e-6
    expected = 0.8 * 100 * 8 / 9  # every other item of the nine has the share 0.8 / 9, and a log probability of -100
    assert float(instance_cross_entropy(torch.eye(9), sure, index, smoothing=0.8)) == pytest.approx(expected, rel=1e-6)


def test_only_the_own_row_of_w_is_drawn_to_an_embedding() -> None:
    h, weight, index = made(items=1)
    weight.requires_grad_()
    instance_cross_entropy(h, weight, index, smoothing=0.8).backward()
    probability = torch.softmax(h @ weight.detach().T, 1)[0]
    target = torch.full((9,), 0.8 / 9, dtype=torch.float64)
    target[index] += 0.2
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, (probability - target).outer(h[0]))


def test_neither_the_order_of_the_batch_nor_the_numbering_of_the_items_matters() -> None:
    h, weight, index = made()
    loss = functools.partial(instance_cross_entropy, smoothing=0.8)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(loss(h[order], weight, index[order]), loss(h, weight, index))
    torch.testing.assert_close(loss(h, weight.flip(0), 8 - index), loss(h, weight, index))


def test_its_gradient_is_that_of_finite_differences() -> None:
    h, weight, index = made(3, 4, 2)
    loss = functools.partial(instance_cross_entropy, index=index, smoothing=0.8)
    assert torch.autograd.gradcheck(loss, (h.requires_grad_(), weight.requires_grad_()))


def test_it_is_computed_in_float32_under_autocast() -> None:
    h, weight, index = made()
    h, weight = h.bfloat16(), weight.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = instance_cross_entropy(h, weight, index, smoothing=0.8)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, instance_cross_entropy(h.float(), weight, index, smoothing=0.8))


def test_the_share_told_right_counts_largest_logits() -> None:
    logits = np.eye(4)[[0, 1, 1, 3]]
    assert float(told_right(torch.from_numpy(logits), torch.eye(4, dtype=torch.float64), torch.arange(4))) == 0.75
