"""Objectives around their losses: what is weighted, gathered, logged and kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import tensor
from stages.encoders.core.projector import Projector
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.objectives.lejepa import to_mean
from stages.views.core.base import Key
from tests.oracles import losses as slow
from tests.pretrain.flat import encoder

TRAINED = ["simclr", "vicreg", "lejepa"]
SMALL: dict[str, dict[str, object]] = {
    "simclr": {"hidden": 8, "out": 6},
    "vicreg": {"hidden": 8, "out": 6},
    "lejepa": {"hidden": 8, "out": 6, "slices": 12},
    "none": {},
}


def make(name: str, net: Encoder, **args: object) -> Objective:
    torch.manual_seed(1)
    objective: Objective = registry.make("objective", Part(name, SMALL[name] | args), net)
    return objective


def batch(n: int = 10, views: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(2)
    return Batch(
        [torch.rand(n, 3, 2, 2, generator=generator) for _ in range(views)], Key(0, 0, torch.arange(n)), torch.arange(n)
    )


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("views", [2, 3])
def test_every_term_is_a_finite_scalar_and_all_weights_get_a_gradient(name: str, views: int) -> None:
    net = encoder()
    objective = make(name, net)
    terms = objective(net, batch(views=views))
    for value in terms.values():
        assert value.shape == () and value.dtype == torch.float32 and torch.isfinite(value)
    terms["total"].backward()
    for parameter_name, parameter in objective.optimised(net):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name
    assert sum(p.grad.abs().sum() for p in net.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("name", TRAINED)
def test_the_encoder_is_not_kept_inside_the_objective(name: str) -> None:
    net = encoder()
    objective = make(name, net)
    mine = {id(p) for p in net.parameters()}
    assert not mine & {id(p) for p in objective.parameters()}


@pytest.mark.parametrize("name", TRAINED)
def test_one_view_is_the_users_mistake(name: str) -> None:
    net = encoder()
    with pytest.raises(UserError, match="compares views"):
        make(name, net)(net, batch(views=1))


@pytest.mark.parametrize("name", TRAINED)
def test_the_order_of_items_does_not_change_the_loss(name: str) -> None:
    net = encoder()
    objective, one = make(name, net), batch()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    shuffled = Batch([tensor(v)[order] for v in one.views], Key(0, 0, one.sample[order]), one.index[order])
    torch.testing.assert_close(objective(net, one)["total"], objective(net, shuffled)["total"])


def test_simclr_without_projector_is_nt_xent_of_the_embeddings() -> None:
    net, one = encoder(), batch()
    total = make("simclr", net, projector="none", temperature=0.2)(net, one)["total"].detach()
    a, b = (net(v).detach().double().numpy() for v in one.views)
    assert float(total) == pytest.approx(slow.nt_xent(a, b, 0.2), rel=1e-5)


def test_vicreg_weights_its_terms() -> None:
    net, one = encoder(), batch()
    objective = make("vicreg", net, invariance_weight=3.0, variance_weight=5.0, covariance_weight=7.0)
    terms = {k: v.item() for k, v in objective(net, one).items()}
    expected = 3 * terms["invariance"] + 5 * terms["variance"] + 7 * terms["covariance"]
    assert terms["total"] == pytest.approx(expected, rel=1e-6)


def test_lejepa_predicts_the_mean_of_the_views() -> None:
    z = np.random.default_rng(0).normal(size=(4, 5, 3))
    assert float(to_mean(torch.from_numpy(z))) == pytest.approx(slow.to_mean(z), rel=1e-12)


def test_lejepa_mixes_its_terms_by_the_weight() -> None:
    net, one = encoder(), batch(views=4)
    terms = {k: v.item() for k, v in make("lejepa", net, weight=0.3)(net, one).items()}
    assert terms["total"] == pytest.approx(0.7 * terms["prediction"] + 0.3 * terms["sigreg"], rel=1e-6)


def test_lejepa_takes_new_directions_at_every_step_and_the_same_after_a_restart() -> None:
    net, one = encoder(), batch()
    objective = make("lejepa", net, weight=1.0)
    objective.train(False)
    first = objective(net, one)["total"]
    objective.after_step(net, 1, 10)
    second = objective(net, one)["total"]
    assert first != second
    restarted = make("lejepa", net, weight=1.0)
    restarted.load_state_dict(objective.state_dict())
    assert torch.equal(restarted.train(False)(net, one)["total"], second)


def test_none_trains_nothing() -> None:
    net = encoder()
    objective = make("none", net)
    assert not objective.trains and not list(objective.parameters())
    assert float(objective(net, batch())["total"]) == 0


@pytest.mark.parametrize(("kind", "shapes"), [("none", []), ("linear", [(4, 3)]), ("mlp", [(8, 3), (8,), (8,), (4, 8)])])
def test_the_projector_has_the_layers_of_its_kind(kind: str, shapes: list[tuple[int, ...]]) -> None:
    found = [tuple(p.shape) for n, p in Projector(kind, 3, 8, 4).named_parameters() if n != "bias"]  # type: ignore[arg-type]
    assert [s for s in found if s != (4,)] == shapes


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("simclr", {"temperature": 0.0}),
        ("lejepa", {"weight": 2.0}),
        ("lejepa", {"slices": 0}),
        ("simclr", {"projector": "conv"}),
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(name: str, wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        make(name, encoder(), **wrong)
