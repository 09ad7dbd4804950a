"""What stops a training, and what is warned of."""

from __future__ import annotations

import pytest
import torch

from stages.common.errors import UserError
from stages.pretrain.core import health
from stages.pretrain.core.history import History


def measured(*epochs: dict[str, float]) -> History:
    history = History()
    for i, values in enumerate(epochs):
        history.add(10 * (i + 1), values)
    return history


def test_a_loss_that_is_not_finite_names_step_term_and_remedy() -> None:
    with pytest.raises(UserError) as error:
        health.check_finite(12, {"total": float("nan"), "variance": 1.0, "covariance": float("inf")}, "encoders.e, seed 0")
    text = str(error.value)
    assert "step 12" in text and "total is nan" in text and "covariance is inf" in text and "variance is 1" not in text
    assert "optim.lr" in text and "encoders.e, seed 0" in text


def test_finite_losses_pass() -> None:
    health.check_finite(1, {"total": 1e30}, "e")


def test_the_deviation_of_an_isotropic_cloud_is_one_and_of_a_point_zero() -> None:
    torch.manual_seed(0)
    assert health.feature_std(torch.randn(5000, 32)) == pytest.approx(1, abs=0.01)
    assert health.feature_std(torch.ones(100, 32) + 1e-4 * torch.randn(100, 32)) < 1e-3
    assert health.feature_std(torch.randn(50, 1) * torch.ones(1, 8)) == pytest.approx(1, abs=0.05)  # one axis, two signs


@pytest.mark.parametrize("sign", [{"feature_std": 0.001, "rankme": 9.0}, {"feature_std": 0.5, "rankme": 1.1}])
def test_a_collapse_is_warned_of_with_the_epoch_and_a_remedy(sign: dict[str, float]) -> None:
    good = {"feature_std": 0.5, "rankme": 9.0}
    (text,) = health.collapse(measured(good, sign, sign), per_epoch=10, warmed_up=5)
    assert "after epoch 2" in text and "batch_size" in text


def test_neither_a_healthy_training_nor_its_warm_up_is_warned_of() -> None:
    good, bad = {"feature_std": 0.5, "rankme": 9.0}, {"feature_std": 0.001, "rankme": 1.0}
    assert health.collapse(measured(bad, good), per_epoch=10, warmed_up=10) == []
    assert health.collapse(History(), per_epoch=10, warmed_up=0) == []


def test_views_that_take_most_of_a_step_are_warned_of() -> None:
    assert health.starved(0.2) == []
    assert "70% of the time" in health.starved(0.7)[0]


def test_waiting_for_a_stream_is_told_with_what_helps() -> None:
    assert health.starved(0.2, 0.2) == []
    (text,) = health.starved(0.2, 0.35)
    assert "35% of the time" in text and "compute.decode_threads" in text
    assert len(health.starved(0.6, 0.35)) == 2
