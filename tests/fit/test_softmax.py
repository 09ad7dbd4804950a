"""The batched solver of the probe: against scikit-learn, the objective row by row, and what an optimum must satisfy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.fit.core import softmax
from stages.fit.core.linear import Axes, best
from tests.oracles.linear import softmax_objective, standardise

L2 = (1e-5, 1e-3, 1e-1, 10.0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(n: int = 150, d: int = 12, c: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping classes of unequal size with correlated columns on different scales."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(c, n, p=np.arange(1, c + 1) / (c * (c + 1) / 2))
    x = (rng.normal(size=(n, d)) + rng.normal(size=(c, d))[labels] * 0.7) @ rng.normal(size=(d, d)) * np.logspace(-2, 2, d) + 3
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)


def solved(
    x: torch.Tensor, labels: torch.Tensor, l2: tuple[float, ...] = L2, tolerance: float = 1e-9
) -> tuple[softmax.Fit, np.ndarray]:
    """The fit, and its weights (R, C, D) in standardised columns."""
    axes = Axes.of(x)
    strengths = torch.tensor(l2, dtype=torch.float64)
    found = softmax.solve(
        axes.project(x), axes.moments, labels, int(labels.max()) + 1, strengths, tolerance=tolerance, steps=5000
    )
    return found, (found.weights @ axes.basis.T).numpy()


@pytest.mark.parametrize("shape", [(150, 12, 4), (40, 60, 3), (90, 5, 2)])
def test_it_agrees_with_scikit_learn_at_every_strength(shape: tuple[int, int, int]) -> None:
    from sklearn.linear_model import LogisticRegression

    x, labels = rows(*shape)
    found, weights = solved(x, labels)
    z = standardise(x.double().numpy(), x.double().numpy())
    for i, l2 in enumerate(L2):
        model = LogisticRegression(C=1 / (l2 * len(z)), tol=1e-10, max_iter=20_000).fit(z, labels.numpy())
        theirs_w, theirs_b = model.coef_, model.intercept_
        if shape[2] == 2:  # scikit-learn's binary form has one logit, w = w1 - w0, so half the penalty on each side
            model = LogisticRegression(C=2 / (l2 * len(z)), tol=1e-10, max_iter=20_000).fit(z, labels.numpy())
            theirs_w, theirs_b = np.vstack([-model.coef_, model.coef_]) / 2, np.array([-1, 1]) * model.intercept_ / 2
        mine = softmax_objective(z, labels.tolist(), weights[i], found.bias[i].numpy(), l2)
        theirs = softmax_objective(z, labels.tolist(), theirs_w, theirs_b, l2)
        assert mine == pytest.approx(theirs, abs=1e-6)
        np.testing.assert_allclose(weights[i], theirs_w, atol=1e-3 * max(1, abs(theirs_w).max()))
        np.testing.assert_allclose(found.bias[i].numpy() - found.bias[i].mean().item(), theirs_b - theirs_b.mean(), atol=2e-3)


def test_the_objective_it_reports_is_that_of_the_definition() -> None:
    x, labels = rows()
    found, weights = solved(x, labels)
    z = standardise(x.double().numpy(), x.double().numpy())
    for i, l2 in enumerate(L2):
        expected = softmax_objective(z, labels.tolist(), weights[i], found.bias[i].numpy(), l2)
        assert float(found.objective[i]) == pytest.approx(expected, abs=1e-10)


def test_no_small_step_from_the_optimum_goes_down() -> None:
    x, labels = rows(60, 5, 3)
    found, weights = solved(x, labels, (1e-2,))
    z = standardise(x.double().numpy(), x.double().numpy())
    bias, rng = found.bias[0].numpy(), np.random.default_rng(0)
    lowest = softmax_objective(z, labels.tolist(), weights[0], bias, 1e-2)
    for _ in range(20):
        dw, db = 1e-3 * rng.normal(size=weights[0].shape), 1e-3 * rng.normal(size=bias.shape)
        assert softmax_objective(z, labels.tolist(), weights[0] + dw, bias + db, 1e-2) > lowest


def test_its_gradient_is_that_of_finite_differences() -> None:
    x, labels = rows(30, 4, 3)
    axes = Axes.of(x)
    problem = softmax._Problem(axes.project(x), axes.moments, labels, 3, torch.tensor([1e-2, 1.0], dtype=torch.float64))
    active = torch.tensor([0, 1])
    theta = torch.randn(2, problem.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, gradient, _ = problem(theta, active)
    for p in range(problem.size):
        step = torch.zeros_like(theta)
        step[:, p] = 1e-6
        slope = (problem(theta + step, active)[0] - problem(theta - step, active)[0]) / 2e-6
        torch.testing.assert_close(gradient[:, p], slope, atol=1e-7, rtol=1e-6)


def test_each_strength_comes_out_as_if_solved_alone() -> None:
    x, labels = rows()
    together, weights = solved(x, labels)
    for i, l2 in enumerate(L2):
        alone, its_weights = solved(x, labels, (l2,))
        np.testing.assert_allclose(weights[i], its_weights[0], atol=1e-6 / l2**0.5)
        assert int(alone.iterations[0]) <= int(together.iterations[i]) + 2


def test_blocks_of_rows_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = rows()
    _, whole = solved(x, labels)
    monkeypatch.setattr(softmax, "_BLOCK", 16 * 40)  # 40 rows at four strengths
    _, parts = solved(x, labels)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_separable_classes_converge_at_every_strength() -> None:
    x = torch.cat([torch.randn(20, 6, generator=torch.Generator().manual_seed(c)) + 20 * c for c in range(3)])
    found, _ = solved(x, torch.arange(3).repeat_interleave(20), (1e-6, 1e-2), 1e-6)
    assert (found.gradient <= 1e-6).all()


def test_strengths_that_do_not_converge_are_told_by_their_gradient() -> None:
    x, labels = rows()
    axes = Axes.of(x)
    l2 = torch.tensor([1e-6, 10.0], dtype=torch.float64)
    found = softmax.solve(axes.project(x), axes.moments, labels, 4, l2, tolerance=1e-7, steps=8)
    assert int(found.iterations[0]) == 8
    assert float(found.gradient[0]) > 1e-7 >= float(found.gradient[1])


def test_a_line_search_that_finds_no_lower_point_ends_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = rows(40, 4, 3)
    monkeypatch.setattr(softmax, "_ARMIJO", 1e9)
    found, weights = solved(x, labels, (1e-2, 1.0))
    assert found.iterations.tolist() == [1, 1]
    assert not weights.any()
    assert (found.gradient > 1e-3).all()


def test_axes_are_orthogonal_standardised_and_span_the_rows() -> None:
    for n, d in ((30, 8), (8, 30)):
        x, _ = rows(n, d, 3)
        axes = Axes.of(x)
        z = axes.project(x)
        assert z.shape == (n, min(n, d))
        torch.testing.assert_close(z.T @ z / n, axes.moments.diag(), atol=1e-9, rtol=0)
        torch.testing.assert_close(z @ axes.basis.T, (x.double() - axes.mean) / axes.std, atol=1e-9, rtol=0)


def test_constant_columns_are_left_at_zero_and_not_blown_up() -> None:
    x, _ = rows(30, 6, 3)
    x[:, 2], x[:, 3] = 5.0, 1 + 1e-7 * torch.arange(30)
    axes = Axes.of(x)
    assert axes.std[2] == axes.std[3] == 1
    assert torch.isfinite(axes.project(x)).all()


def test_of_equal_values_the_strongest_regularisation_is_best() -> None:
    l2 = torch.tensor([1e-3, 10.0, 1.0, 100.0])
    assert best(torch.tensor([0.5, 0.9, 0.9, 0.8]), l2) == 1
