"""DINO's cross-entropy, centre and schedules against algorithm 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.pretrain.objectives.dino import cross_entropy, entropy, momentum, ramp, recentred
from tests.oracles import dino as slow

TEMPERATURES = {"temperature": 0.1, "teacher_temperature": 0.04}


def views(count: int, n: int = 5, k: int = 7, seed: int = 0) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.uniform(-1, 1, (n, k))) for _ in range(count)]


def centre(k: int = 7) -> Tensor:
    return torch.linspace(-0.3, 0.4, k, dtype=torch.float64)


@pytest.mark.parametrize(("students", "teachers"), [(2, 2), (4, 2), (3, 1)])
def test_it_matches_the_loop_over_pairs_of_views(students: int, teachers: int) -> None:
    s, t = views(students, seed=1), views(teachers, seed=2)
    expected = slow.cross_entropy([v.tolist() for v in s], [v.tolist() for v in t], centre().tolist(), 0.1, 0.04)
    # the student's logits are taken in float32
    assert float(cross_entropy(s, t, centre(), **TEMPERATURES)) == pytest.approx(expected, rel=1e-5)


def test_a_student_without_a_preference_costs_the_logarithm_of_the_outputs() -> None:
    flat = [torch.ones(4, 9), torch.zeros(4, 9)]
    assert float(cross_entropy(flat, views(2, 4, 9), centre(9), **TEMPERATURES)) == pytest.approx(math.log(9), rel=1e-6)


def test_a_view_is_never_compared_with_itself() -> None:
    a, b = torch.eye(3) * 9, torch.eye(3).roll(1, 0) * 9  # each sure of its own output, the two of different ones
    crossed = cross_entropy([b, a], [a, b], torch.zeros(3), temperature=0.1, teacher_temperature=0.04)
    assert float(crossed) == pytest.approx(0, abs=1e-6)
    assert float(cross_entropy([a, b], [a, b], torch.zeros(3), temperature=0.1, teacher_temperature=0.04)) > 50


def test_the_centre_takes_out_what_all_outputs_of_the_teacher_share() -> None:
    s, t, shift = views(3, seed=1), views(2, seed=2), torch.randn(7, dtype=torch.float64)
    plain = cross_entropy(s, t, centre(), **TEMPERATURES)
    moved = cross_entropy(s, [v + shift for v in t], centre() + shift, **TEMPERATURES)
    torch.testing.assert_close(plain, moved)
    assert abs(float(cross_entropy(s, t, centre() + shift, **TEMPERATURES) - plain)) > 1e-3


def test_neither_the_order_of_items_nor_a_shift_of_a_students_row_matters() -> None:
    s, t, order = views(3, seed=1), views(2, seed=2), torch.tensor([3, 1, 4, 0, 2])
    plain = cross_entropy(s, t, centre(), **TEMPERATURES)
    torch.testing.assert_close(plain, cross_entropy([v[order] for v in s], [v[order] for v in t], centre(), **TEMPERATURES))
    torch.testing.assert_close(plain, cross_entropy([v + 3 for v in s], t, centre(), **TEMPERATURES), rtol=1e-4, atol=1e-4)


def test_its_gradient_is_the_students_assignment_less_the_teachers() -> None:
    s, t = [v.float().requires_grad_() for v in views(2, seed=1)], [v.float().requires_grad_() for v in views(2, seed=2)]
    middle = centre().float()
    cross_entropy(s, t, middle, **TEMPERATURES).backward()
    for i, j in ((0, 1), (1, 0)):  # of two views: the mean over 2 pairs and 5 items
        expected = ((s[i] / 0.1).softmax(1) - ((t[j] - middle) / 0.04).softmax(1)) / 0.1 / 5 / 2
        torch.testing.assert_close(s[i].grad, expected.detach(), rtol=1e-4, atol=1e-6)
        assert t[i].grad is None


def test_the_centre_is_a_running_mean_over_items_and_views() -> None:
    t = views(2)
    mean = torch.stack([v.mean(0) for v in t]).mean(0)
    expected = slow.centred(centre().tolist(), [v.tolist() for v in t], 0.9)
    np.testing.assert_allclose(recentred(centre(), mean, 0.9).numpy(), expected, rtol=1e-12)


def test_entropy_is_zero_where_all_fall_to_one_output_and_highest_where_all_are_used() -> None:
    t = views(2)
    expected = slow.entropy([v.tolist() for v in t], centre().tolist(), 0.2)
    assert float(entropy(t, centre(), temperature=0.2)) == pytest.approx(expected, rel=1e-12)
    one = torch.zeros(6, 5)
    one[:, 2] = 100
    assert float(entropy([one], torch.zeros(5), temperature=0.04)) == pytest.approx(0, abs=1e-6)
    assert float(entropy([torch.eye(5) * 100], torch.zeros(5), temperature=0.04)) == pytest.approx(math.log(5), rel=1e-6)


def test_the_momentum_rises_from_its_start_to_one_by_a_cosine() -> None:
    assert momentum(0.996, 0, 100) == pytest.approx(0.996)
    assert momentum(0.996, 50, 100) == pytest.approx(0.998)
    assert momentum(0.996, 25, 100) == pytest.approx(1 - 0.004 * (1 + math.sqrt(0.5)) / 2)
    assert momentum(0.996, 100, 100) == pytest.approx(1)


def test_the_teachers_temperature_rises_and_stays() -> None:
    assert [ramp(0.04, 0.07, 0.3, d) for d in (0.0, 0.1, 0.3, 0.9)] == pytest.approx([0.04, 0.05, 0.07, 0.07])
    assert ramp(0.04, 0.07, 0.0, 0.0) == 0.07


def test_it_is_computed_in_float32_under_autocast() -> None:
    s, t = [v.bfloat16() for v in views(2, seed=1)], [v.bfloat16() for v in views(2, seed=2)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = cross_entropy(s, t, centre().float(), **TEMPERATURES)
    plain = cross_entropy([v.float() for v in s], [v.float() for v in t], centre().float(), **TEMPERATURES)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)
