"""Intrinsic dimension by principal components: closed forms of a known spectrum, invariances."""

from __future__ import annotations

import pytest
import torch
from sklearn.decomposition import PCA

from stages.common.errors import UserError
from stages.measures.pca95 import pca95
from tests.measures.test_measures import normal, rotation, spectrum


@pytest.mark.parametrize(
    ("values", "dimension"),
    [([96.0, 2, 1, 1], 1), ([94.0, 4, 1, 1], 2), ([90.0, 4, 4, 2], 3), ([1.0] * 20, 19), ([95.0, 3, 2], 1), ([7.0], 1)],
)
def test_it_counts_the_components_of_a_known_spectrum(values: list[float], dimension: int) -> None:
    assert pca95(spectrum(torch.tensor(values, dtype=torch.float64), 60)) == dimension


def test_it_is_the_number_that_scikit_learn_keeps() -> None:
    x = normal(80, 30) * torch.logspace(0, -2, 30, dtype=torch.float64)
    for share in (0.5, 0.9, 0.99):
        assert pca95(x, share=share) == PCA(share, svd_solver="full").fit(x.numpy()).n_components_


def test_place_level_and_direction_do_not_matter() -> None:
    x = normal(50, 12) * torch.linspace(0.1, 3, 12, dtype=torch.float64)
    assert pca95(x) == pca95(7 * x + 100) == pca95(x @ rotation(12))


def test_fewer_items_than_dimensions_have_one_component_less_and_equal_items_none() -> None:
    assert pca95(normal(4, 30), share=1.0) == 3
    assert pca95(torch.full((5, 3), 0.1)) == 0


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(UserError, match="1 at most"):
        pca95(normal(5, 3), share=1.2)
