"""Pretext classification against cross entropy by hand, and the objective around it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stages.common.errors import UserError
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.pretext import Pretext, told_apart, told_right
from stages.views.core.base import Key
from tests.oracles import cutpaste as slow
from tests.pretrain.flat import encoder


def batch(n: int = 10, views: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(2)
    made = [torch.rand(n, 3, 2, 2, generator=generator) for _ in range(views)]
    return Batch(made, Key(0, 0, torch.arange(n)), torch.arange(n))


def test_the_loss_is_the_cross_entropy_of_each_views_own_index() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 6, 4))
    assert float(told_apart(torch.from_numpy(logits))) == pytest.approx(slow.told_apart(logits), rel=1e-12)


@pytest.mark.parametrize("views", [2, 3, 5])
def test_equal_logits_are_a_uniform_guess_and_sure_ones_cost_nothing(views: int) -> None:
    assert float(told_apart(torch.zeros(views, 4, views))) == pytest.approx(math.log(views), rel=1e-6)
    sure = 100 * torch.eye(views).unsqueeze(1).expand(views, 4, views)
    assert float(told_apart(sure)) < 1e-6 and float(told_right(sure)) == 1
    assert float(told_right(sure.roll(1, 2))) == 0


def test_neither_the_order_of_items_nor_a_shift_of_an_items_logits_matters() -> None:
    logits = torch.randn(3, 7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = told_apart(logits)
    torch.testing.assert_close(told_apart(logits.flip(1)), loss)
    torch.testing.assert_close(told_apart(logits + torch.arange(7.0).view(1, 7, 1)), loss)


def test_its_gradient_is_that_of_finite_differences() -> None:
    logits = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(told_apart, (logits,))


def test_it_is_computed_in_float32_under_autocast() -> None:
    logits = torch.randn(3, 4, 3).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = told_apart(logits)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, told_apart(logits.float()))


def test_the_terms_are_those_of_the_logits_and_all_weights_get_a_gradient() -> None:
    net, one = encoder(), batch()
    torch.manual_seed(1)
    objective = Pretext(net, classes=3, out=6)
    terms = objective(net, one)
    logits = objective.classifier(objective.projector(net(torch.cat(one.views)))).view(3, 10, 3)  # type: ignore[arg-type]
    assert terms["total"].item() == pytest.approx(slow.told_apart(logits.detach().double().numpy()), rel=1e-5)
    right = np.mean([logits[v].argmax(1).eq(v).float().mean().item() for v in range(3)])
    assert float(terms["accuracy"]) == pytest.approx(right)
    assert not terms["accuracy"].requires_grad
    terms["total"].backward()
    for name, parameter in objective.optimised(net):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert not {id(p) for p in net.parameters()} & {id(p) for p in objective.parameters()}


def test_the_projector_is_as_wide_as_the_embedding_by_default() -> None:
    arguments = Pretext(encoder(), out=6).projector.arguments
    assert arguments == {"kind": "mlp", "width": 5, "hidden": 5, "out": 6, "layers": 2}


@pytest.mark.parametrize(("classes", "views", "match"), [(3, 2, "2 views for 3 classes"), (2, 1, "compares views")])
def test_as_many_views_as_classes_are_asked_for(classes: int, views: int, match: str) -> None:
    net = encoder()
    with pytest.raises(UserError, match=match):
        Pretext(net, classes=classes)(net, batch(views=views))


@pytest.mark.parametrize("wrong", [{"classes": 1}, {"out": 0}, {"layers": 0}])
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError):
        Pretext(encoder(), **wrong)
