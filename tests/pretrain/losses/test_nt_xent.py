"""NT-Xent against eq. 1 of SimCLR."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stages.pretrain.objectives.simclr import nt_xent
from tests.oracles import losses as slow


def pair(n: int = 5, d: int = 7) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(n, d, dtype=torch.float64), torch.randn(n, d, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_it_matches_the_loop_over_pairs(temperature: float) -> None:
    a, b = pair()
    assert float(nt_xent(a, b, temperature=temperature)) == pytest.approx(
        slow.nt_xent(a.numpy(), b.numpy(), temperature), rel=1e-12
    )


@pytest.mark.parametrize("n", [1, 2, 6])
def test_agreeing_pairs_orthogonal_to_all_others_have_the_closed_form(n: int) -> None:
    z, t = torch.eye(8, dtype=torch.float64)[:n], 0.5
    expected = math.log(math.exp(1 / t) + 2 * n - 2) - 1 / t
    assert float(nt_xent(3 * z, 0.1 * z, temperature=t)) == pytest.approx(expected, abs=1e-12)


def test_all_orthogonal_views_are_a_uniform_guess() -> None:
    z = torch.eye(8, dtype=torch.float64)
    assert float(nt_xent(z[:4], z[4:], temperature=0.2)) == pytest.approx(math.log(7), rel=1e-12)


def test_one_pair_alone_has_no_loss_whatever_its_angle() -> None:
    assert float(nt_xent(torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]]), temperature=0.5)) == 0


def test_neither_the_order_of_items_nor_of_views_nor_their_lengths_matter() -> None:
    a, b = pair()
    loss, order = nt_xent(a, b, temperature=0.5), torch.tensor([3, 1, 4, 0, 2])
    for other in (
        nt_xent(a[order], b[order], temperature=0.5),
        nt_xent(b, a, temperature=0.5),
        nt_xent(2 * a, 9 * b, temperature=0.5),
    ):
        torch.testing.assert_close(other, loss)


def test_its_gradient_is_that_of_finite_differences() -> None:
    a, b = (v.requires_grad_() for v in pair(3, 4))
    assert torch.autograd.gradcheck(lambda u, v: nt_xent(u, v, temperature=0.3), (a, b))


def test_it_is_computed_in_float32_under_autocast() -> None:
    a, b = (v.float() for v in pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = nt_xent(a.bfloat16(), b.bfloat16(), temperature=0.1)
    plain = nt_xent(a.bfloat16().float(), b.bfloat16().float(), temperature=0.1)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)
