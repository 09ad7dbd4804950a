"""SIE: the terms against loops, the predictor's matrix, and which half hears what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.sie import SIE, Conditioned, Hypernetwork, covariance, sie, variance
from stages.views.core.base import Key
from tests.oracles import sie as slow

SMALL: dict[str, Any] = {"hidden": 12, "out": 8}


class Line(nn.Module):
    """A stand-in encoder of x (B, 5): a linear map to 6."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.map(x)
        return h


def made(**args: Any) -> tuple[Encoder, SIE]:
    torch.manual_seed(0)
    net: Encoder = Line()  # type: ignore[assignment]
    objective: SIE = registry.make("objective", Part("sie", SMALL | args), net)
    return net, objective.train()  # type: ignore[return-value]


def batch(n: int = 9, views: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    pictures = [torch.randn(n, 5, generator=generator) for _ in range(views)]
    poses = [torch.from_numpy(np.roll(Rotation.random(n, random_state=s).as_quat(), 1, 1)).float()[..., None] for s in (2, 3)]
    return Batch(list(pictures), Key(0, 0, torch.arange(n)), torch.arange(n), {"pose": poses[0]}, {"pose": poses[1]})


def turns(one: Batch) -> np.ndarray:
    """scipy's rotation from the first pose to the second, scalar first."""
    first, second = (Rotation.from_quat(np.roll(p["pose"].flatten(1).numpy(), -1, 1)) for p in (one.side, one.other))
    return np.asarray(np.roll((second * first.inv()).as_quat(canonical=True), 1, 1))


def test_the_total_is_the_weighted_sum_of_what_loops_find() -> None:
    net, objective = made(predicted_weight=3.0)
    one = batch()
    terms = {k: float(v.detach()) for k, v in objective(net, one).items()}
    both = torch.cat([net(v) for v in one.views])
    inv, equi = (m.detach().double().numpy() for m in (objective.invariant(both[:, :3]), objective.equivariant(both[:, 3:])))
    assert inv.shape == equi.shape == (18, 4)
    predictor = objective.predictor
    assert isinstance(predictor, Hypernetwork)
    guess = slow.predicted(predictor.maps.detach().double().numpy(), equi[:9], turns(one))
    x, y = (np.concatenate([inv[rows], equi[rows]], 1) for rows in (slice(0, 9), slice(9, 18)))
    expected = {
        "invariance": slow.distance(inv[:9], inv[9:]),
        "equivariance": slow.distance(guess, equi[9:]),
        "variance": (slow.variance(x) + slow.variance(y)) / 2,
        "covariance": slow.covariance(x) + slow.covariance(y),
        "predicted_variance": slow.variance(guess),
    }
    weights = {"invariance": 10, "equivariance": 4.5, "variance": 10, "covariance": 1, "predicted_variance": 3}
    expected["total"] = sum(weights[name] * value for name, value in expected.items())
    assert terms == pytest.approx(expected, rel=1e-4)


def test_a_rotation_that_the_predictor_knows_costs_nothing() -> None:
    """Embeddings that turn by the object's own rotation, R(q) of a plane about z: A(z) is found in closed form."""
    predictor = Hypernetwork(2)
    with torch.no_grad():  # about z a turn by t has q = (cos t/2, 0, 0, sin t/2): the plane here turns by t/2
        predictor.maps.zero_()
        predictor.maps[0] = torch.eye(2)
        predictor.maps[3] = torch.tensor([[0.0, -1], [1, 0]])
    half = torch.linspace(-0.7, 0.7, 8)
    z = torch.stack([half.cos(), 0 * half, 0 * half, half.sin()], 1)
    x = torch.tensor([[1.0, 0.0]]).expand(8, 2)
    y = torch.stack([half.cos(), half.sin()], 1)
    torch.testing.assert_close(predictor(x, z), y)
    terms = sie([x, x], [x, y], predictor(x, z))
    assert float(terms["invariance"]) == 0 and float(terms["equivariance"].detach()) == pytest.approx(0, abs=1e-12)


def test_redundancy_between_the_halves_is_punished_and_within_the_hinge_nothing_else() -> None:
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    a, b = signs[:, :1], signs[:, 1:]
    apart, same = sie([a, a], [b, b], b), sie([a, a], [a, a], a)
    assert float(apart["covariance"]) == float(apart["variance"]) == 0
    assert float(same["covariance"]) == pytest.approx(2 * 2 * (4 / 3) ** 2 / 2)
    torch.testing.assert_close(covariance(signs + 5), covariance(signs))
    torch.testing.assert_close(variance(signs + 5), variance(signs))


def test_the_hypernetworks_prediction_depends_on_the_rotation_and_an_mlp_may_ignore_it() -> None:
    torch.manual_seed(0)
    x, z = torch.randn(6, 4), torch.randn(6, 4)
    net = Hypernetwork(4)
    torch.testing.assert_close(net(x, 2 * z), 2 * net(x, z))  # linear in z: no z, no prediction
    torch.testing.assert_close(net(x, z), net(x, z * 0.25) + net(x, z * 0.75))
    mlp = Conditioned(4)
    with torch.no_grad():
        mlp.mlp[0].weight[:, 4:] = 0
    torch.testing.assert_close(mlp(x, z), mlp(x, 0 * z))


def test_each_half_learns_of_its_own_terms_alone_but_for_the_covariance() -> None:
    for weights, moved in (
        ({"equivariance_weight": 0.0}, (True, False)),
        ({"similarity_weight": 0.0}, (False, False)),
        ({}, (True, True)),
    ):
        net, objective = made(variance_weight=0.0, covariance_weight=0.0, **weights)
        objective(net, batch())["total"].backward()
        grad = net.map.weight.grad  # type: ignore[union-attr]
        assert (bool(grad[:3].any()), bool(grad[3:].any())) == moved  # type: ignore[index]


@pytest.mark.parametrize("predictor", ["hypernetwork", "mlp"])
def test_all_that_is_trained_gets_a_gradient(predictor: str) -> None:
    net, objective = made(predictor=predictor)
    objective(net, batch())["total"].backward()
    assert [n for n, p in objective.optimised(net) if p.grad is None] == []


def test_a_share_cuts_embedding_and_expander_alike() -> None:
    _, objective = made(share=1 / 3, hidden=9, out=6)
    assert objective.cut == 2
    assert (objective.invariant.arguments["out"], objective.equivariant.arguments["out"]) == (2, 4)


def test_what_does_not_fit_is_named() -> None:
    for share in (0.0, 1.0, 0.01):
        with pytest.raises(UserError, match="leaves a part empty"):
            made(share=share)
    net, objective = made()
    with pytest.raises(UserError, match="takes two views"):
        objective(net, batch(views=1))
    one = batch()
    for side in ({}, {"pose": torch.zeros(9, 3)}):
        with pytest.raises(UserError, match="needs the poses of both views"):
            objective(net, Batch(one.views, one.key, one.index, side, one.other))
