"""Metrics of many bootstrap samples at once: what evaluating each sample gives."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from stages.common import registry
from stages.common.tasks import Predictions
from stages.evaluate import bootstrap


def judged_rows(name: str, rng: np.random.Generator) -> list[Predictions]:
    """Three seeds of 60 items, of one to three rows each, in their own order; scores with ties, one class seldom drawn."""
    seeds = []
    for seed in range(3):
        ids = rng.permutation(np.array([f"i{i}" for i in range(60) for _ in range(1 + i % 3)]))
        n = len(ids)
        if name in ("cer", "wer"):
            words = np.array(["a bc", "abc", "", "d e f", "bc"], object)
            seeds.append(Predictions(seed, "all", ids, words[rng.integers(0, 5, n)], words[rng.integers(0, 5, n)]))
        elif name in ("auroc", "eer"):
            classes = 2 if name == "eer" or seed == 0 else 11
            target = rng.integers(0, classes, n).astype(float)
            target[target == 10] = 0
            target[ids == "i1"] = classes - 1
            score = rng.integers(0, 6, (n, classes)).astype(np.float32) + (np.arange(classes) == target[:, None])
            seeds.append(Predictions(seed, "all", ids, target, score.argmax(1).astype(float), score / 7))
        elif name.startswith("position"):
            seeds.append(Predictions(seed, "all", ids, np.zeros(n), np.zeros(n), rng.normal(size=(n, 4)).astype(np.float32)))
        else:
            target = rng.normal(5, 2, n)
            seeds.append(Predictions(seed, "all", ids, target, target + rng.normal(size=n)))
    return seeds


def by_loop(name: str, seeds: list[Predictions], draws: int) -> np.ndarray:
    """The metric evaluated draw by draw, by the code's own loop."""
    ids = np.unique(np.concatenate([p.ids for p in seeds]))
    item = [np.searchsorted(ids, p.ids) for p in seeds]
    return bootstrap._loop(registry.find("metric", name), seeds, item, len(ids), draws, 0)


@pytest.mark.parametrize("name", ["auroc", "eer", "cer", "wer", "position_error_95"])
@pytest.mark.parametrize("block", [4_000_000, 1_000])
def test_what_is_judged_for_many_samples_at_once_is_the_metric_to_the_last_digit(
    name: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = judged_rows(name, np.random.default_rng(8))
    expected = by_loop(name, seeds, 120)
    monkeypatch.setattr(bootstrap, "_loop", None)  # it is not used
    monkeypatch.setattr(bootstrap, "_BLOCK", block)
    found = bootstrap.replicates(registry.find("metric", name), seeds, 120)
    np.testing.assert_array_equal(found, expected)
    assert len(bootstrap.replicates(registry.find("metric", name), seeds)) == bootstrap.LOOP_DRAWS
    assert np.nanstd(found) > 0


def test_samples_of_one_class_are_not_a_number_among_those_that_are() -> None:
    ids = np.array([f"i{i}" for i in range(5)])
    target, score = np.array([1.0, 0, 0, 0, 0]), np.array([[0, 0.3], [0, 0.1], [0, 0.4], [0, 0.2], [0, 0.3]])
    for name in ("auroc", "eer"):
        seeds = [Predictions(0, "all", ids, target, target, score)]
        found = bootstrap.replicates(registry.find("metric", name), seeds, 200)
        assert 40 < np.isnan(found).sum() < 100  # (4/5)^5 of them draw no item of class 1
        np.testing.assert_array_equal(found, by_loop(name, seeds, 200))


def test_what_cannot_be_judged_at_once_is_left_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged_rows("auroc", np.random.default_rng(8))[1]
    assert found.score is not None
    found.score = found.score[:, :5]  # classes 5 to 9 have no scores
    assert np.isnan(bootstrap.replicates(registry.find("metric", "auroc"), [found], 20)).all()
    found.score[3, 2] = np.nan
    assert bootstrap.replicates(registry.find("metric", "auroc"), [found], 20).shape == (20,)
    found.score = None
    assert np.isnan(bootstrap.replicates(registry.find("metric", "auroc"), [found], 20)).all()


@pytest.mark.parametrize("name", ["r2", "rmse", "pearson", "mae", "position_error"])
def test_sums_over_many_rows_give_what_evaluating_every_draw_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = judged_rows(name, np.random.default_rng(9))
    expected = by_loop(name, seeds, 120)
    if name in ("r2", "rmse", "pearson"):
        np.testing.assert_array_equal(bootstrap.replicates(registry.find("metric", name), seeds, 120), expected)  # few rows
    monkeypatch.setattr(bootstrap, "_loop", None)
    monkeypatch.setattr(bootstrap, "_SINGLES", 100)
    found = bootstrap.replicates(registry.find("metric", name), seeds, 120)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.std() > 0


def test_a_sample_of_one_value_has_no_correlation_by_sums_either() -> None:
    target, weights = np.array([1.0, 1, 2]), np.array([[2.0, 1, 0], [1, 1, 1]])
    for name in ("r2", "pearson"):
        module = sys.modules[registry.find("metric", name).__module__]
        with np.errstate(all="ignore"):
            found = module.of_sums(target, np.array([0.0, 1, 3]), None, weights)
        assert np.isnan(found[0]) and np.isfinite(found[1])
