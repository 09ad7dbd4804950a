"""SIGReg and the Epps-Pulley statistic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stages.pretrain.objectives.lejepa import directions, epps_pulley, sigreg
from tests.oracles import losses as slow


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_it_matches_the_complex_quadrature_over_both_halves() -> None:
    x = normal(20, 3)
    expected = [slow.epps_pulley(x[:, m].numpy(), 17, 3.0) for m in range(3)]
    torch.testing.assert_close(epps_pulley(x), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.7, 1.0), (0.0, 0.2), (-1.0, 2.0)])
def test_a_fine_quadrature_of_the_whole_line_gives_the_closed_form(shift: float, scale: float) -> None:
    x = shift + scale * normal(30, 1)
    fine = float(epps_pulley(x, knots=2001, reach=12.0)[0])
    assert fine == pytest.approx(slow.epps_pulley_whole_line(x[:, 0].numpy()), rel=1e-6)


def test_normal_samples_have_the_known_mean_whatever_their_number() -> None:
    expected = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
    for n in (4, 32):
        t = epps_pulley(normal(n, 5_000, seed=n), knots=49, reach=6.0)
        assert abs(float(t.mean()) - expected) < 4 * float(t.std()) / math.sqrt(len(t))
    cut = epps_pulley(normal(32, 5_000, seed=32))
    assert 0.98 < float(cut.mean() / t.mean()) < 1  # [-3, 3] leaves a little out


def test_collapse_shift_and_wrong_scale_cost_more_than_normal_samples() -> None:
    x = normal(256, 8)
    good = epps_pulley(x).mean()
    for bad in (torch.zeros_like(x), x + 1, x * 3, x / 3, x.sign()):
        assert epps_pulley(bad).mean() > 5 * good


def test_signs_and_order_do_not_matter() -> None:
    x = normal(15, 4)
    for other in (-x, x.flip(0)):
        torch.testing.assert_close(epps_pulley(other), epps_pulley(x))


def test_its_gradient_is_that_of_finite_differences() -> None:
    z = normal(5, 3).requires_grad_()
    along = directions(torch.tensor(0), torch.tensor(0), 3, 4).double()
    assert torch.autograd.gradcheck(lambda v: sigreg(v, along), (z,))


def test_directions_are_unit_vectors_uniform_on_the_sphere() -> None:
    along = directions(torch.tensor(1), torch.tensor(2), 3, 50_000).double()
    torch.testing.assert_close(along.square().sum(0), torch.ones(50_000, dtype=torch.float64), atol=1e-6, rtol=0)
    assert along.mean(1).abs().max() < 0.01
    torch.testing.assert_close(along @ along.T / 50_000, torch.eye(3, dtype=torch.float64) / 3, atol=0.01, rtol=0)


def test_directions_depend_on_seed_and_step_alone() -> None:
    one = directions(torch.tensor(1), torch.tensor(2), 16, 8)
    assert torch.equal(one, directions(torch.tensor(1), torch.tensor(2), 16, 8))
    for seed, step in ((1, 3), (2, 2)):
        assert (one - directions(torch.tensor(seed), torch.tensor(step), 16, 8)).abs().max() > 0.1
