"""Errors of points: distances in the plane and in space, and their 95th percentile."""

from __future__ import annotations

import numpy as np
import pytest

from stages.evaluate.direction import higher_is_better
from stages.metrics.core.metric import metric
from tests.oracles import metrics as oracle

NAMES = ["position_error", "position_error_95"]


def rows(n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    predicted, true = rng.normal(size=(2, n, d)).astype(np.float32)
    return true[:, 0].astype(float), predicted[:, 0].astype(float), np.concatenate([predicted, true], 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "d"), [(1, 2), (20, 2), (21, 3), (100, 2), (7, 1)])
def test_distances_equal_plain_loops(name: str, n: int, d: int) -> None:
    target, prediction, score = rows(n, d)
    expected = getattr(oracle, name)(target.tolist(), prediction.tolist(), score.tolist())
    assert metric(name).function(target, prediction, score) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_three_metres_east_and_four_north_are_five(name: str) -> None:
    score = np.array([[13.0, 24.0, 10.0, 20.0]] * 3)
    assert metric(name).function(score[:, 2], score[:, 0], score) == 5


@pytest.mark.parametrize("name", NAMES)
def test_turning_and_moving_the_map_changes_nothing(name: str) -> None:
    target, prediction, score = rows(50, 2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    moved = np.concatenate([half @ turn + [3, -7] for half in np.split(score.astype(float), 2, axis=1)], 1)
    expected = metric(name).function(target, prediction, score)
    assert metric(name).function(moved[:, 2], moved[:, 0], moved) == pytest.approx(expected, rel=1e-5)


def test_one_row_in_twenty_may_be_worse_than_the_95th_percentile() -> None:
    far = np.arange(20.0)
    assert metric("position_error_95").function(np.zeros(20), far, None) == 18
    assert metric("position_error").function(np.zeros(20), far, None) == 9.5


@pytest.mark.parametrize("name", NAMES)
def test_less_is_better(name: str) -> None:
    assert higher_is_better(name) is False
