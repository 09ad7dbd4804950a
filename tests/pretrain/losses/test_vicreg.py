"""The terms of VICReg against the paper's equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stages.pretrain.core.decorrelation import covariance, distance, variance
from stages.pretrain.objectives.vicreg import vicreg
from tests.oracles import losses as slow


def pair(n: int = 6, d: int = 4, scale: float = 0.8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return scale * torch.randn(n, d, dtype=torch.float64), 2 * scale * torch.randn(n, d, dtype=torch.float64)


def test_every_term_matches_the_loop() -> None:
    a, b = pair()
    expected = slow.vicreg(a.numpy(), b.numpy())
    assert {k: float(v) for k, v in vicreg(a, b).items()} == pytest.approx(expected, rel=1e-12)


def test_collapsed_embeddings_cost_all_of_the_variance_and_nothing_else() -> None:
    z = torch.full((5, 3), 2.0)
    terms = vicreg(z, z)
    assert float(terms["variance"]) == pytest.approx(1 - math.sqrt(1e-4), rel=1e-6)
    assert float(terms["invariance"]) == float(terms["covariance"]) == 0


def test_agreeing_uncorrelated_features_of_deviation_above_one_cost_nothing() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert {k: float(v) for k, v in vicreg(signs, signs).items()} == {"invariance": 0, "variance": 0, "covariance": 0}


def test_two_equal_features_have_the_covariance_of_their_variance() -> None:
    z = torch.tensor([[-1.0], [1.0], [3.0]]).expand(3, 2)
    assert float(covariance(z)) == pytest.approx(2 * 4.0**2 / 2)  # variance 4 with N - 1, two off-diagonal entries, D = 2


def test_shifts_change_neither_variance_nor_covariance() -> None:
    a, _ = pair()
    for term in (variance, covariance):
        torch.testing.assert_close(term(a + 7), term(a))


def test_items_may_come_in_any_order() -> None:
    a, b = pair()
    order = torch.tensor([5, 3, 1, 0, 2, 4])
    for name, value in vicreg(a[order], b[order]).items():
        torch.testing.assert_close(value, vicreg(a, b)[name])


def test_gradients_are_those_of_finite_differences() -> None:
    a, b = (v.requires_grad_() for v in pair(4, 3, 0.4))
    assert torch.autograd.gradcheck(lambda u, v: torch.stack(list(vicreg(u, v).values())), (a, b))
    assert torch.autograd.gradcheck(distance, (a, b))
