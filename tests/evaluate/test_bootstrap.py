"""Intervals over test items: right coverage, the same draws for everyone, means recognised and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common import registry
from stages.common.errors import UserError
from stages.common.tasks import Predictions
from stages.evaluate import bootstrap
from tests.evaluate.builders import accuracy, balanced, log_loss, predictions, rmse
from tests.evaluate.resampling import resampled_metric

RNG = np.random.default_rng(3)


def numbers(n: int, seed: int = 0, noise: float = 1.0) -> Predictions:
    rng = np.random.default_rng(seed)
    target = rng.normal(size=n)
    return Predictions(seed, "all", np.array([f"i{i:04d}" for i in range(n)]), target, target + noise * rng.normal(size=n))


def test_draws_give_the_metric_of_the_drawn_rows_for_means_and_for_others() -> None:
    seeds = [predictions(RNG.random(37) < 0.6, seed) for seed in range(3)]
    for metric in (accuracy, balanced, log_loss):
        np.testing.assert_allclose(bootstrap.replicates(metric, seeds, 20), resampled_metric(metric, seeds, 20), rtol=1e-12)


def test_rows_of_one_id_are_drawn_together() -> None:
    ids = [f"clip{i // 5}" for i in range(50)]
    found = [predictions(RNG.random(50) < 0.5, seed, ids=ids) for seed in range(2)]
    np.testing.assert_allclose(bootstrap.replicates(accuracy, found, 20), resampled_metric(accuracy, found, 20), rtol=1e-12)
    together = predictions(np.arange(50) // 5 < 5, ids=ids)  # a clip is right as a whole, so there are 10 items, not 50
    apart = predictions(np.arange(50) // 5 < 5)
    assert bootstrap.replicates(accuracy, [together]).std() > 1.8 * bootstrap.replicates(accuracy, [apart]).std()


def test_the_spread_of_an_accuracy_is_the_binomial_one() -> None:
    drawn = bootstrap.replicates(accuracy, [predictions(np.arange(400) < 320)], 4000)
    assert drawn.mean() == pytest.approx(0.8, abs=0.003)
    assert drawn.std() == pytest.approx((0.8 * 0.2 / 400) ** 0.5, rel=0.05)


def test_the_interval_covers_the_true_accuracy_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        found = bootstrap.interval(bootstrap.replicates(accuracy, [predictions(rng.random(200) < 0.7)], 400))
        assert found
        covered += found.low <= 0.7 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_row_values_recognise_means_and_refuse_everything_else() -> None:
    found = predictions(RNG.random(100) < 0.6)
    np.testing.assert_array_equal(bootstrap.row_values(accuracy, found), found.target == found.prediction)
    values = bootstrap.row_values(log_loss, found)
    assert values is not None and values.mean() == pytest.approx(log_loss(found.target, found.prediction, found.score))
    assert bootstrap.row_values(balanced, found) is None
    assert bootstrap.row_values(rmse, numbers(80)) is None
    assert bootstrap.row_values(lambda t, p, s: float("nan"), found) is None


def test_a_metric_of_scores_sees_the_scores_of_each_row() -> None:
    found = predictions(np.ones(60, bool), classes=2)
    assert found.score is not None
    found.score = RNG.dirichlet([1, 1], 60)
    np.testing.assert_allclose(
        bootstrap.row_values(log_loss, found), -np.log(found.score[np.arange(60), np.arange(60) % 2] + 1e-9)
    )


def test_balanced_accuracy_is_no_mean_even_where_the_classes_are_balanced() -> None:
    assert bootstrap.row_values(balanced, predictions(np.arange(400) < 300)) is None


def test_more_draws_begin_with_the_same_draws_and_a_second_call_repeats_them() -> None:
    few = np.concatenate(list(bootstrap.counts(3000, 50)))
    many = np.concatenate(list(bootstrap.counts(3000, 1700)))
    np.testing.assert_array_equal(many[:50], few)
    np.testing.assert_array_equal(few.sum(axis=1), 3000)
    one = [predictions(RNG.random(50) < 0.6)]
    np.testing.assert_array_equal(bootstrap.replicates(accuracy, one), bootstrap.replicates(accuracy, one))
    assert not np.array_equal(bootstrap.replicates(accuracy, one), bootstrap.replicates(accuracy, one, seed=1))


def test_seeds_with_other_rows_are_matched_by_id() -> None:
    first = predictions(np.arange(30) < 20)
    order = RNG.permutation(30)
    second = Predictions(1, "all", first.ids[order], first.target[order], first.prediction[order], None)
    np.testing.assert_allclose(bootstrap.replicates(accuracy, [first]), bootstrap.replicates(accuracy, [second]))


def test_an_undefined_metric_has_no_interval_and_a_seldom_undefined_one_has() -> None:
    assert bootstrap.interval(np.full(10, np.nan)) is None
    assert bootstrap.interval(np.array([])) is None
    found = bootstrap.interval(np.array([np.nan, 1.0, 2.0, 3.0]))
    assert found and 1 <= found.low < found.high <= 3


def test_nothing_to_resample_is_said() -> None:
    with pytest.raises(UserError, match="no predictions"):
        bootstrap.replicates(accuracy, [])


@pytest.mark.parametrize("name", ["macro_f1", "balanced_accuracy"])
def test_confusion_matrices_give_what_evaluating_every_draw_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    metric = registry.find("metric", name)
    ids = np.array([f"i{i // 2}" for i in range(60)])  # two rows an item
    seeds = [
        Predictions(s, "all", ids, rng.integers(0, 4, 60).astype(float), rng.integers(0, 5, 60).astype(float)) for s in range(2)
    ]
    fast = bootstrap.replicates(metric, seeds, draws=50)
    monkeypatch.setattr(bootstrap, "_CELLS", 0)
    slow = bootstrap.replicates(metric, seeds, draws=50)
    np.testing.assert_allclose(fast, slow, rtol=1e-12)
    assert fast.std() > 0


@pytest.mark.parametrize(("name", "mean"), [("cer", False), ("wer", True)])
def test_texts_are_drawn_as_numbers_are(name: str, mean: bool) -> None:
    rng = np.random.default_rng(2)
    target, prediction = (np.array(["1" * int(n) for n in rng.integers(1, 5, 30)], object) for _ in range(2))
    found = Predictions(0, "all", np.array([f"i{i}" for i in range(30)]), target, prediction)
    metric = registry.find("metric", name)
    values = bootstrap.row_values(metric, found)  # texts of one word: only their share that is wrong is a mean
    assert (values is not None) is mean
    np.testing.assert_allclose(bootstrap.replicates(metric, [found], 20), resampled_metric(metric, [found], 20), rtol=1e-12)
