"""LeJEPA where some views are global: what they predict, and views of two sizes through real networks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common import registry
from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import tensor
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.objectives.lejepa import directions, sigreg, to_mean
from stages.views.core.base import Key
from stages.views.multicrop import MultiCrop
from tests.oracles import lejepa as slow
from tests.oracles.losses import epps_pulley

NETWORKS = {
    "vit": {"patch": 4, "dim": 8, "depth": 1, "heads": 2},
    "resnet": {"width": 4, "blocks": [1, 1]},
}
SMALL = {"hidden": 8, "out": 6, "slices": 16}


def embeddings(views: int = 5, items: int = 4, dimensions: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(views, items, dimensions)))


def network(name: str = "vit") -> Encoder:
    torch.manual_seed(0)
    column = Column("image", "media", "pixels", shape=[16, 16, 3])
    return encoders.new(Part("image"), Part(name, NETWORKS[name]), column, Path())


def objective(net: Encoder, **arguments: object) -> Objective:
    torch.manual_seed(1)
    made: Objective = registry.make("objective", Part("lejepa", {**SMALL, **arguments}), net)
    return made


def batch(net: Encoder, n: int = 12, globals: int = 2, locals: int = 2) -> Batch:
    data = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (n, 16, 16, 3), np.uint8))
    key = Key(0, 0, torch.arange(n))
    return Batch(MultiCrop(net.frontend, globals=globals, locals=locals, side=8)(data, None, key), key, torch.arange(n))


@pytest.mark.parametrize("first", [1, 2, 5])
def test_the_prediction_matches_the_loop_over_views(first: int) -> None:
    z = embeddings()
    assert float(to_mean(z, first)) == pytest.approx(slow.prediction(z.numpy(), first), rel=1e-12)


def test_all_views_are_global_where_nobody_says_otherwise() -> None:
    z = embeddings()
    assert torch.equal(to_mean(z), to_mean(z, 5))


def test_a_local_view_pulls_no_target_and_is_pulled_alone() -> None:
    """d/dz of a local view is 2 (z - m) / (V N D); a global view's gradient carries the target's too, and all sum to zero."""
    z = embeddings().requires_grad_()
    (grad,) = torch.autograd.grad(to_mean(z, 2), z)
    away = (z - z[:2].mean(0)).detach()
    torch.testing.assert_close(grad[2:], 2 * away[2:] / z.numel())
    torch.testing.assert_close(grad.sum(0), torch.zeros_like(grad[0]))
    assert torch.autograd.gradcheck(lambda v: to_mean(v, 2), (z,))


def test_moving_a_local_view_changes_its_own_distance_only() -> None:
    z = embeddings()
    moved = z.clone()
    moved[4] += 3
    away = z[4] - z[:2].mean(0)
    change = ((away + 3).square() - away.square()).sum() / z.numel()
    torch.testing.assert_close(to_mean(moved, 2) - to_mean(z, 2), change)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_views_of_two_sizes_train_a_network_of_either_kind(name: str) -> None:
    net = network(name)
    made, one = objective(net, globals=2, weight=0.3), batch(net)
    assert {tuple(tensor(v).shape[2:]) for v in one.views} == {(16, 16), (8, 8)}
    terms = made(net, one)
    terms["total"].backward()
    z = torch.stack([made.projector(net(v)) for v in one.views]).detach()
    expected = slow.prediction(z.double().numpy(), 2)
    gauss = torch.stack([sigreg(v, directions(made.seed, made.step, 6, 16)) for v in z]).mean()
    assert terms["prediction"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["sigreg"].item() == pytest.approx(float(gauss), rel=1e-5)
    assert terms["total"].item() == pytest.approx(0.7 * expected + 0.3 * float(gauss), rel=1e-5)
    for parameter_name, parameter in made.optimised(net):
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


def test_a_collapsed_cloud_is_free_at_weight_zero_and_costs_what_epps_and_pulley_say_above() -> None:
    """All projections at 0: nothing is left to predict, and T = N sqrt(2 pi) (1 - sqrt 2 + 1 / sqrt 3) over the whole line."""
    net = network()
    made = objective(net, globals=2, weight=0.0)
    last = list(made.projector.children())[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    terms = made(net, batch(net))
    assert terms["total"] == terms["prediction"] == 0
    assert terms["sigreg"].item() == pytest.approx(epps_pulley(np.zeros(12), 17, 3.0), rel=1e-5)
    assert terms["sigreg"].item() == pytest.approx(
        12 * math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3)), rel=0.03
    )
    made.weight = 0.05
    assert made(net, batch(net))["total"].item() == pytest.approx(0.05 * terms["sigreg"].item(), rel=1e-6)


@pytest.mark.parametrize(("globals", "match"), [(0, "one global view at least"), (5, "there are 4 views")])
def test_a_number_of_global_views_that_cannot_be_is_the_users_mistake(globals: int, match: str) -> None:
    net = network()
    with pytest.raises(UserError, match=match):
        objective(net, globals=globals)(net, batch(net))
