"""The equal error rate: closed forms, ties, what order and scale leave as it is, scikit-learn's curve."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.metrics.core.metric import metric
from stages.metrics.eer import eer, equal_error_rate
from tests.oracles import voice as slow


def trials(same: list[float], other: list[float]) -> tuple[np.ndarray, np.ndarray]:
    score = np.array([*same, *other])
    return np.array([1.0] * len(same) + [0.0] * len(other)), np.stack([-score, score], 1)


@pytest.mark.parametrize(
    ("same", "other", "rate"),
    [
        ([3.0, 4.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [3.0, 4.0], 1.0),
        ([5.0, 5.0, 5.0], [5.0, 5.0], 0.5),
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], 0.5),
        ([0.9, 0.8, 0.7, 0.2], [0.6, 0.1, 0.0, -0.1], 0.25),  # one of four on each side
        ([2.0, 1.0], [1.0, 0.0], 0.25),  # the tie counts half
        ([1.0], [1.0], 0.5),
    ],
)
def test_it_is_what_can_be_counted_by_hand(same: list[float], other: list[float], rate: float) -> None:
    target, score = trials(same, other)
    assert eer(target, target, score) == pytest.approx(rate)


@pytest.mark.parametrize("seed", range(12))
def test_it_lies_where_the_curve_of_scikit_learn_meets_the_diagonal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same, other = rng.normal(1, 1, rng.integers(1, 40)), rng.normal(0, 1, rng.integers(1, 40))
    if seed % 2:
        same, other = same.round(), other.round()  # many ties
    assert equal_error_rate(same, other) == pytest.approx(slow.equal_error_rate(same, other), abs=1e-9)


def test_only_the_order_of_the_scores_counts_and_to_turn_them_round_turns_the_rate() -> None:
    rng = np.random.default_rng(3)
    same, other = rng.normal(1, 1, 30), rng.normal(0, 1, 50)
    rate = equal_error_rate(same, other)
    assert equal_error_rate(np.exp(same), np.exp(other)) == rate
    assert equal_error_rate(-other, -same) == pytest.approx(rate)
    assert equal_error_rate(np.tile(same, 3), np.tile(other, 2)) == pytest.approx(rate)


def test_of_normal_scores_it_is_the_tail_beyond_half_their_distance() -> None:
    from scipy.stats import norm

    grid = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert equal_error_rate(grid + 2, grid) == pytest.approx(norm.cdf(-1), abs=1e-4)


def test_one_class_has_none_and_scores_must_be_of_two() -> None:
    target, score = trials([1.0, 2.0], [])
    assert np.isnan(eer(target, target, score))
    with pytest.raises(UserError, match="scores of two classes"):
        eer(target, target, None)
    with pytest.raises(UserError, match="scores of two classes"):
        eer(target, target, np.zeros((2, 3)))


def test_less_is_better_for_a_verifier() -> None:
    assert metric("eer").higher_is_better is False and metric("eer").label == "class"
