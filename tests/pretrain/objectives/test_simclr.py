"""SimCLR around its loss: each kind of projector, and more than two views, against NumPy loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core.inputs import tensor
from stages.pretrain.core.objective import Batch, Objective
from tests.oracles import losses
from tests.oracles import simclr as slow
from tests.pretrain.objectives.test_objectives import batch, encoder


def made(projector: str, **arguments: object) -> Objective:
    torch.manual_seed(1)
    part = Part("simclr", {"projector": projector, "hidden": 7, "out": 4} | arguments)
    objective: Objective = registry.make("objective", part, encoder())
    for name, parameter in objective.named_parameters():  # batch norm's too: at 1 and 0 they would not be seen
        torch.nn.init.normal_(parameter, mean=float(name.endswith("1.weight")), std=0.5)
    return objective.double()


def embeddings(one: Batch) -> list[np.ndarray]:
    net = encoder()
    return [net(tensor(v)).detach().double().numpy() for v in one.views]


class Given(torch.nn.Module):
    """A stand-in encoder whose input is its embedding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("projector", ["none", "linear", "mlp"])
@pytest.mark.parametrize("views", [2, 3])
def test_the_total_is_nt_xent_of_what_the_projector_gives_averaged_over_pairs_of_views(projector: str, views: int) -> None:
    one = batch(n=6, views=views)
    h = embeddings(one)
    objective = made(projector, temperature=0.4)
    seen = Batch([torch.from_numpy(v) for v in h], one.key, one.index)
    total = float(objective(Given(), seen)["total"].detach())
    weights = {n: p.detach().numpy() for n, p in objective.projector.named_parameters()}
    z = np.split(slow.projected(np.concatenate(h), weights, projector), views)  # batch norm sees all views together
    expected = [losses.nt_xent(a, b, 0.4) for a, b in combinations(z, 2)]
    assert total == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_the_defaults_are_the_papers() -> None:
    objective: Objective = registry.make("objective", Part("simclr", {}), encoder())
    shapes = [tuple(p.shape) for n, p in objective.projector.named_parameters() if n.endswith("weight")]
    assert shapes == [(5, 5), (5,), (128, 5)]  # as wide as the embedding, then 128


@pytest.mark.parametrize("wrong", [{"temperature": -0.5}, {"projector": "deep"}, {"outs": 3}])
def test_arguments_that_are_none_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        registry.make("objective", Part("simclr", wrong), encoder())
