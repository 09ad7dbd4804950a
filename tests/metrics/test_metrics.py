"""Every metric against plain loops and scikit-learn, its limits, and what a bootstrap asks of it."""

from __future__ import annotations

import numpy as np
import pytest

from stages.common import registry
from stages.common.errors import UserError
from stages.metrics.core.metric import metric
from tests.oracles import metrics as oracle

CLASS = ["accuracy", "auroc", "balanced_accuracy", "macro_f1"]
NUMBER = ["mae", "pearson", "position_error", "position_error_95", "r2", "rmse"]
TEXT = ["cer", "wer"]  # in test_text.py
VERIFICATION = ["eer"]  # in test_eer.py


def class_rows(seed: int, n: int = 40, classes: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, predictions and coarse scores with many ties; class `classes - 1` is never a target."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, max(2, classes - 1), n).astype(float)
    score = rng.integers(0, 4, (n, classes)) + 0.5 * (np.arange(classes) == target[:, None])
    score = score / score.sum(1, keepdims=True).clip(1e-9)
    return target, score.argmax(1).astype(float), score


def number_rows(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.normal(3, 2, n)
    return target, 0.5 * target + rng.normal(0, 1, n)


def test_every_metric_is_tested_here() -> None:
    assert registry.names("metric") == sorted(CLASS + NUMBER + TEXT + VERIFICATION)


@pytest.mark.parametrize("name", CLASS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("seed", range(5))
def test_class_metrics_equal_plain_loops(name: str, classes: int, seed: int) -> None:
    target, prediction, score = class_rows(seed, classes=classes)
    expected = getattr(oracle, name)(target.tolist(), prediction.tolist(), score.tolist())
    assert metric(name).function(target, prediction, score) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", NUMBER)
@pytest.mark.parametrize("seed", range(5))
def test_number_metrics_equal_plain_loops(name: str, seed: int) -> None:
    target, prediction = number_rows(seed)
    expected = getattr(oracle, name)(target.tolist(), prediction.tolist())
    assert metric(name).function(target, prediction, None) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_metrics_equal_scikit_learn() -> None:
    from scipy.stats import pearsonr
    from sklearn import metrics as sk

    target, prediction, score = class_rows(0, classes=3)
    two, two_prediction, two_score = class_rows(1, classes=2)
    value = {name: metric(name).function for name in CLASS + NUMBER}
    assert value["accuracy"](target, prediction, None) == pytest.approx(sk.accuracy_score(target, prediction))
    assert value["balanced_accuracy"](target, prediction, None) == pytest.approx(sk.balanced_accuracy_score(target, prediction))
    assert value["macro_f1"](target, prediction, None) == pytest.approx(sk.f1_score(target, prediction, average="macro"))
    assert value["auroc"](two, two_prediction, two_score) == pytest.approx(sk.roc_auc_score(two, two_score[:, 1]))
    full = np.array([0.0, 1, 2] * 13 + [1])  # all three classes occur, as scikit-learn wants
    expected = sk.roc_auc_score(full, score, multi_class="ovr", average="macro")
    assert value["auroc"](full, prediction, score) == pytest.approx(expected)
    y, guess = number_rows(2)
    assert value["mae"](y, guess, None) == pytest.approx(sk.mean_absolute_error(y, guess))
    assert value["rmse"](y, guess, None) == pytest.approx(sk.root_mean_squared_error(y, guess))
    assert value["r2"](y, guess, None) == pytest.approx(sk.r2_score(y, guess))
    assert value["pearson"](y, guess, None) == pytest.approx(pearsonr(y, guess).statistic)


@pytest.mark.parametrize("name", CLASS + NUMBER)
def test_a_perfect_prediction_is_best_and_a_worse_one_is_worse(name: str) -> None:
    chosen = metric(name)
    if chosen.label == "class":
        target = np.array([0.0, 1, 2, 0, 1, 2])
        good, bad = np.eye(3)[target.astype(int)], np.eye(3)[[1, 1, 2, 2, 0, 2]]
        best, worse = (chosen.function(target, s.argmax(1).astype(float), s) for s in (good, bad))
    else:
        target = np.array([0.0, 1, 2, 5])
        best, worse = chosen.function(target, target, None), chosen.function(target, np.array([3.0, 0, 1, 1]), None)
    assert best == pytest.approx(1.0 if chosen.higher_is_better else 0.0)
    assert best > worse if chosen.higher_is_better else best < worse


@pytest.mark.parametrize("name", CLASS + NUMBER)
def test_a_repeated_and_shuffled_sample_is_judged_by_its_rows_alone(name: str) -> None:
    chosen = metric(name)
    target, prediction, score = class_rows(3) if chosen.label == "class" else (*number_rows(3), None)
    twice = np.random.default_rng(0).permutation(np.repeat(np.arange(len(target)), 2))
    value = chosen.function(target[twice], prediction[twice], None if score is None else score[twice])
    assert value == pytest.approx(chosen.function(target, prediction, score), abs=1e-12)


@pytest.mark.parametrize("name", CLASS + NUMBER)
def test_no_rows_give_no_number(name: str) -> None:
    assert np.isnan(metric(name).function(np.empty(0), np.empty(0), np.empty((0, 3))))


def test_one_class_or_one_value_leaves_a_ranking_undefined() -> None:
    ones = np.ones(4)
    assert np.isnan(metric("auroc").function(ones, ones, np.full((4, 2), 0.5)))
    assert np.isnan(metric("r2").function(ones, np.arange(4.0), None))
    assert np.isnan(metric("pearson").function(np.arange(4.0), ones, None))


def test_auroc_is_half_for_equal_scores_and_flips_with_their_sign() -> None:
    target = np.array([0.0, 1, 1, 0, 1])
    area = metric("auroc").function
    assert area(target, target, np.full((5, 2), 0.5)) == 0.5
    s = np.array([0.1, 0.8, 0.3, 0.4, 0.6])
    there, back = (area(target, target, np.stack([-v, v], 1)) for v in (s, -s))
    assert there == pytest.approx(5 / 6)
    assert back == pytest.approx(1 - there)


def test_auroc_without_scores_says_what_to_choose_instead() -> None:
    with pytest.raises(UserError, match="choose accuracy or macro_f1"):
        metric("auroc").function(np.array([0.0, 1]), np.array([0.0, 1]), None)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'accuracy'"):
        metric("acuracy")
