"""Every measure against its definition in plain loops, closed forms and invariances."""

from __future__ import annotations

import math

import pytest
import torch

from stages.common import registry
from stages.common.errors import UserError
from stages.measures.alignment import alignment
from stages.measures.alpha_req import alpha_req
from stages.measures.cka import cka
from stages.measures.core.measure import measure
from stages.measures.lidar import lidar
from stages.measures.rankme import rankme
from stages.measures.uniformity import uniformity
from tests.oracles import measures as oracle


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(d: int, seed: int = 1) -> torch.Tensor:
    return torch.linalg.qr(normal(d, d, seed=seed))[0]


def spectrum(values: torch.Tensor, n: int) -> torch.Tensor:
    """x (n, D), centred, whose covariance has exactly these eigenvalues."""
    x = normal(n, len(values))
    u = torch.linalg.qr(x - x.mean(0))[0]
    return u * (values * (n - 1)).sqrt() @ rotation(len(values))


def test_each_measure_says_what_it_takes_and_which_way_is_better() -> None:
    assert {n: (measure(n).takes, measure(n).higher_is_better) for n in registry.names("measure")} == {
        "alignment": ("views", False),
        "alpha_req": ("rows", None),
        "cka": ("pair", None),
        "lidar": ("views", True),
        "pca95": ("rows", None),
        "rankme": ("rows", True),
        "uniformity": ("rows", False),
    }


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_rankme_equals_its_definition(shape: tuple[int, int]) -> None:
    x = normal(*shape) * torch.linspace(0.1, 3, shape[1]) + 0.5
    assert rankme(x) == pytest.approx(oracle.rankme(x.numpy()), rel=1e-6)


def test_rankme_of_orthogonal_columns_is_their_number_and_of_one_direction_one() -> None:
    assert rankme(torch.linalg.qr(normal(50, 16))[0]) == pytest.approx(16, rel=1e-5)
    assert rankme(normal(50, 1) * normal(1, 16)) == pytest.approx(1, abs=1e-4)


def test_rankme_reads_singular_values_not_eigenvalues() -> None:
    x = torch.zeros(2, 2, dtype=torch.float64)
    x[0, 0], x[1, 1] = 3.0, 1.0  # p = 3/4, 1/4; by eigenvalues it would be 9/10, 1/10
    assert rankme(x) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-5)


def test_rankme_does_not_centre() -> None:
    x = normal(200, 4) * 0.01 + torch.tensor([10.0, 0, 0, 0])
    assert rankme(x) < 1.2 < 3.5 < rankme(x - x.mean(0))


def test_rankme_ignores_scale_and_rotation() -> None:
    x = normal(40, 6)
    assert rankme(7 * x @ rotation(6)) == pytest.approx(rankme(x), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_recovers_the_exponent_of_a_power_law(alpha: float) -> None:
    x = spectrum(torch.arange(1, 121, dtype=torch.float64) ** -alpha, 300)
    assert alpha_req(x) == pytest.approx(alpha, abs=1e-6)
    assert alpha_req(x.float()) == pytest.approx(alpha, abs=1e-3)


def test_alpha_req_equals_its_definition_and_ignores_shift_and_scale() -> None:
    x = normal(60, 12) * torch.linspace(3, 0.2, 12)
    assert alpha_req(x, first=2, last=10) == pytest.approx(oracle.alpha_req(x.numpy(), 2, 10), rel=1e-8)
    assert alpha_req(5 * x + 100, first=2, last=10) == pytest.approx(alpha_req(x, first=2, last=10), rel=1e-8)


def test_alpha_req_stops_at_the_numerical_rank_and_needs_two_eigenvalues() -> None:
    low = spectrum(torch.arange(1, 31, dtype=torch.float64) ** -1.0, 300) @ normal(30, 60, seed=2)
    padded = torch.cat([spectrum(torch.arange(1, 31, dtype=torch.float64) ** -1.0, 300), torch.zeros(300, 30)], 1)
    assert alpha_req(padded) == pytest.approx(1.0, abs=1e-6)
    assert math.isfinite(alpha_req(low.float()))
    assert math.isnan(alpha_req(normal(100, 4)))
    assert math.isnan(alpha_req(torch.ones(50, 20)))


def test_lidar_equals_its_definition() -> None:
    x = normal(20, 1, 6) * torch.linspace(0.2, 2, 6) + 0.3 * normal(20, 4, 6, seed=1)
    assert lidar(x, delta=1e-3, epsilon=1e-8) == pytest.approx(oracle.lidar(x.numpy(), 1e-3, 1e-8), rel=1e-8)


def test_lidar_of_isotropic_items_is_the_width_and_of_one_direction_one() -> None:
    items = spectrum(torch.ones(8, dtype=torch.float64), 100)
    sides = torch.tensor([1.0, -1.0], dtype=torch.float64)[None, :, None]
    noise = 0.1 * spectrum(torch.ones(8, dtype=torch.float64), 100)[:, None] * sides  # the two views, either side of the item
    assert lidar(items[:, None] + noise) == pytest.approx(8, rel=1e-4)
    line = items.clone()
    line[:, 1:] = 0
    assert lidar(line[:, None] + noise) == pytest.approx(1, abs=1e-4)


def test_lidar_is_at_most_one_less_than_the_items() -> None:
    x = 10 * normal(5, 1, 32) + 0.1 * normal(5, 40, 32, seed=1)
    assert 1 < lidar(x) < 4.01


def test_lidar_discounts_directions_in_which_views_scatter() -> None:
    items, noise = normal(400, 1, 8), normal(400, 6, 8, seed=1)
    scale = torch.tensor([0.05] * 4 + [20.0] * 4, dtype=torch.float64)
    assert lidar(items + 0.05 * noise) == pytest.approx(8, rel=0.05)
    assert lidar(items + scale * noise) == pytest.approx(4, rel=0.05)


def test_lidar_needs_two_items_and_two_views() -> None:
    assert math.isnan(lidar(normal(1, 4, 3)))
    assert math.isnan(lidar(normal(4, 1, 3)))


def test_uniformity_equals_its_definition_in_one_block_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(23, 5) + 1
    expected = oracle.uniformity(x.numpy(), 2.0)
    assert uniformity(x) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr("stages.measures.uniformity._BLOCK", 60)  # two rows a block
    assert uniformity(x) == pytest.approx(expected, rel=1e-5)


def test_uniformity_of_two_opposite_points_and_of_a_single_point() -> None:
    assert uniformity(torch.tensor([[2.0, 0], [-1.0, 0]])) == pytest.approx(-8)
    assert uniformity(torch.ones(6, 3)) == pytest.approx(0, abs=1e-6)
    assert math.isnan(uniformity(torch.ones(1, 3)))


def test_alignment_equals_its_definition() -> None:
    x = normal(7, 4, 5)
    assert alignment(x) == pytest.approx(oracle.alignment(x.numpy(), 2.0), rel=1e-9)
    assert alignment(x, alpha=1.0) == pytest.approx(oracle.alignment(x.numpy(), 1.0), rel=1e-9)


def test_alignment_is_none_for_equal_views_and_four_for_opposite_ones() -> None:
    x = normal(6, 1, 3)
    assert alignment(torch.cat([x, 5 * x], 1)) == pytest.approx(0, abs=1e-12)
    assert alignment(torch.cat([x, -x], 1)) == pytest.approx(4)
    assert math.isnan(alignment(x))


def test_cka_equals_its_gram_form_over_any_blocks() -> None:
    x, y = normal(30, 5) + 3, normal(30, 9, seed=1)
    y[:, :5] += x
    assert cka(x, y) == pytest.approx(oracle.cka(x.numpy(), y.numpy()), rel=1e-9)
    assert cka(x, y, block=7) == pytest.approx(cka(x, y), rel=1e-12)


def test_cka_is_one_up_to_rotation_shift_and_scale_but_not_up_to_any_linear_map() -> None:
    x = normal(200, 6) * torch.linspace(0.1, 2, 6)
    assert cka(x, 3 * x @ rotation(6) + 10) == pytest.approx(1, abs=1e-9)
    assert cka(x, x * torch.linspace(2, 0.1, 6)) < 0.9


def test_cka_of_unrelated_features_is_near_zero_and_of_constant_ones_undefined() -> None:
    assert cka(normal(4000, 4), normal(4000, 4, seed=1)) < 0.01
    assert math.isnan(cka(normal(10, 2), torch.ones(10, 2)))


def test_an_unknown_measure_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'rankme'"):
        measure("rank_me")
