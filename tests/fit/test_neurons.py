"""The head `neurons`: which units it takes, and what it makes of them, against a reference by loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common.errors import UserError
from stages.fit.core.head import Problem, Rows
from stages.fit.heads.neurons import Neurons, areas, greedy, logistic
from tests.oracles import neurons as slow

CLASSES = ["no", "yes"]


def rows(x: np.ndarray, y: np.ndarray) -> Rows:
    ids = np.array([f"i{i}" for i in range(len(x))])
    return Rows(ids, np.zeros(len(x), np.int64), torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y))


def data(n: int, seed: int, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Units 3, 7 and 9 tell the classes together; unit 3's twin 4 says nothing beside it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 5, size=d) + rng.normal(size=d)
    x = x.astype(np.float32).astype(float)
    x[:, 4] = x[:, 3] + 0.05 * rng.normal(size=n)
    scaled = (x - x.mean(0)) / x.std(0)
    y = (scaled[:, 3] + 0.7 * scaled[:, 7] - 0.5 * scaled[:, 9] + 0.4 * rng.normal(size=n) > 0.8).astype(np.int64)
    return x.astype(np.float32).astype(float), y


def problem(classes: list[str] = CLASSES, **changes: Rows) -> Problem:
    train, test = data(150, 0), data(80, 1)
    made = {"train": rows(*train), "valid": rows(*test), "test": rows(*test), **changes}
    return Problem(0, "all", made["train"], made["valid"], made["test"], classes)


def test_units_and_scores_are_those_of_the_reference() -> None:
    (x, y), (tx, _) = data(150, 0), data(80, 1)
    found = Neurons(k=4, candidates=8, l2=0.01).fit(problem())
    units = slow.chosen(x, y, 4, 8, 0.01)
    assert found.details["units"] == units and set(units[:3]) & {3, 4} and {7, 9} <= set(units)
    z, tz = (x - x.mean(0)) / x.std(0), (tx - x.mean(0)) / x.std(0)
    weights, bias, _ = slow.regression(z[:, units], y, 0.01)
    expected = 1 / (1 + np.exp(-(tz[:, units] @ weights + bias)))
    assert found.score is not None and found.prediction is not None
    np.testing.assert_allclose(found.score[:, 1].numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(found.score.sum(1).numpy(), 1, atol=1e-12)
    assert (found.prediction.numpy() == (expected > 0.5)).all()


def test_a_twin_is_left_out_though_it_ranks_high() -> None:
    """Greedy choice is by what a unit adds: of two alike, one is taken among the first three."""
    found = Neurons(k=3, candidates=12).fit(problem())
    assert len({3, 4} & set(found.details["units"])) == 1


def test_only_the_first_candidates_are_chosen_from() -> None:
    x, y = data(150, 0)
    ranked = sorted(range(12), key=lambda c: -abs(slow.area(x[:, c], y == 1) - 0.5))
    found = Neurons(k=3, candidates=3).fit(problem())
    assert set(found.details["units"]) == set(ranked[:3])


def test_regression_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    x, y = data(200, 2)
    z = (x - x.mean(0)) / x.std(0)
    for l2 in (1e-3, 1e-1):
        theirs = LogisticRegression(C=1 / (l2 * len(z)), tol=1e-10, max_iter=1000).fit(z[:, :5], y)
        ours = logistic(torch.from_numpy(z[:, :5]).unsqueeze(0), torch.from_numpy(y).double(), l2)
        np.testing.assert_allclose(ours.weights[0].numpy(), theirs.coef_[0], atol=1e-4)
        assert float(ours.bias[0]) == pytest.approx(float(theirs.intercept_[0]), abs=1e-4)


def test_areas_count_ties_half() -> None:
    rng = np.random.default_rng(0)
    z, positive = rng.integers(0, 4, size=(40, 6)).astype(float), rng.random(40) < 0.3
    found = areas(torch.from_numpy(z), torch.from_numpy(positive))
    np.testing.assert_allclose(found.numpy(), [slow.area(z[:, c], positive) for c in range(6)], atol=1e-12)


def test_classes_that_a_unit_parts_wholly_and_a_constant_unit_do_no_harm() -> None:
    x, y = data(150, 0)
    x[:, 5], x[:, 6] = y * 2.0, 1.0
    found = Neurons(k=2).fit(problem(train=rows(x, y)))
    assert found.details["units"][0] == 5 and found.score is not None and torch.isfinite(found.score).all()
    assert greedy(torch.from_numpy(x), torch.from_numpy(y).double(), 1, 1e-3).tolist() == [5]


def test_what_it_cannot_rank_is_refused() -> None:
    x, y = data(150, 0)
    with pytest.raises(UserError, match="ranked for two classes"):
        Neurons().fit(problem(classes=["a", "b", "c"]))
    with pytest.raises(UserError, match="ranked for two classes"):
        Neurons().fit(problem(train=rows(x, np.zeros_like(y))))
    with pytest.raises(UserError, match="there are 12 units, not 13"):
        Neurons(k=13).fit(problem())
    for wrong in ({"k": 0}, {"k": 5, "candidates": 4}, {"l2": 0.0}):
        with pytest.raises(UserError, match="k is 1 or more"):
            Neurons(**wrong)  # type: ignore[arg-type]
