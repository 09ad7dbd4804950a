"""The Gaussian of normal rows against loops and scikit-learn, and the labels of one-class learning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.fit.core import one_class
from stages.fit.core.head import Problem, Rows
from stages.fit.core.one_class import Gaussian
from tests.oracles import cutpaste as slow


def rows(n: int, d: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)).astype(np.float32))


@pytest.mark.parametrize("shrinkage", [0.0, 0.2, 1.0])
def test_distances_are_half_the_squared_mahalanobis_distance(shrinkage: float) -> None:
    train, test = rows(40, 5, 0), rows(12, 5, 1)
    found = Gaussian.of(train, shrinkage).distances(test)
    expected = slow.half_mahalanobis(train.double().numpy(), test.double().numpy(), shrinkage)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32


def test_without_shrinkage_they_are_scikit_learns_empirical_covariance() -> None:
    from sklearn.covariance import EmpiricalCovariance

    train, test = rows(60, 4, 0), rows(9, 4, 1)
    expected = EmpiricalCovariance().fit(train.double().numpy()).mahalanobis(test.double().numpy()) / 2
    np.testing.assert_allclose(Gaussian.of(train, 0.0).distances(test), expected, rtol=1e-6)


def test_without_shrinkage_no_affine_map_of_the_features_matters() -> None:
    train, test = rows(60, 4, 0), rows(9, 4, 1)
    turn, shift = rows(4, 4, 2), rows(1, 4, 3)
    plain = Gaussian.of(train, 0.0).distances(test)
    moved = Gaussian.of(train @ turn + shift, 0.0).distances(test @ turn + shift)
    np.testing.assert_allclose(moved, plain, rtol=2e-3)


def test_ledoit_and_wolf_choose_the_shrinkage_where_none_is_given_even_with_fewer_rows_than_columns() -> None:
    train = rows(6, 20, 0)
    density = Gaussian.of(train, None)
    assert 0 < density.shrinkage < 1
    np.testing.assert_allclose(
        density.distances(train),
        slow.half_mahalanobis(train.double().numpy(), train.double().numpy(), density.shrinkage),
        rtol=1e-4,
    )


def test_areas_are_those_of_all_pairs_overall_and_by_kind() -> None:
    rng = np.random.default_rng(0)
    odd = rng.random(60) < 0.5
    score = rng.integers(0, 8, 60) + odd
    kind = np.where(odd, rng.choice(["Crack", "Fray"], 60), "Free")
    found = one_class.areas(odd, score.astype(np.float32), kind, "auroc")
    assert list(found) == ["auroc", "auroc_crack", "auroc_fray"]
    assert found["auroc"] == pytest.approx(slow.area(odd, score))
    for name in ("Crack", "Fray"):
        chosen = ~odd | (kind == name)
        assert found[f"auroc_{name.lower()}"] == pytest.approx(slow.area(odd[chosen], score[chosen]))


def problem(train: list[int], test: list[int], classes: int = 2) -> Problem:
    def of(target: list[int]) -> Rows:
        n = len(target)
        return Rows(np.arange(n).astype(str), np.zeros(n, np.int32), torch.zeros(n, 2), torch.tensor(target))

    return Problem(0, "all", of(train), of([]), of(test), [str(c) for c in range(classes)])


@pytest.mark.parametrize("normal", [0, 1])
def test_the_normal_class_is_the_one_that_trains(normal: int) -> None:
    assert one_class.normal_class(problem([normal] * 3, [0, 1])) == normal


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (problem([0, 1], [0, 1]), "of one class"),
        (problem([0, -1], [0, 1]), "of one class"),
        (problem([0, 0], [0, 0]), "of both classes"),
        (problem([0, 0], [0, 1, -1]), "of both classes"),
        (problem([0, 0], [0, 1], classes=3), "two classes"),
        (Problem(0, "all", *[Rows(np.array(["a"]), np.zeros(1, np.int32), torch.zeros(1, 2))] * 3), "two classes"),
    ],
)
def test_other_labels_are_the_users_mistake(given: Problem, match: str) -> None:
    with pytest.raises(UserError, match=match):
        one_class.normal_class(given)


def test_one_row_has_no_covariance() -> None:
    with pytest.raises(UserError, match="two train rows"):
        Gaussian.of(torch.zeros(1, 3), None)
