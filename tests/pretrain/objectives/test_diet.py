"""DIET around its loss: one row of W for each training item, found by the item's index."""

from __future__ import annotations

import pytest
import torch

from stages.common.errors import UserError
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import tensor
from stages.pretrain.core.items import Items
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.diet import DIET
from stages.views.core.base import Key
from tests.oracles import diet as slow
from tests.pretrain.conftest import Pretrain
from tests.pretrain.flat import encoder

ITEMS = 20


def objective(net: Encoder, smoothing: float = 0.8) -> DIET:
    torch.manual_seed(1)
    made = DIET(net, smoothing=smoothing)
    rows = torch.arange(107, 107 + ITEMS)  # rows of the corpus are not positions among the training items
    made.prepare(net, Items(torch.zeros(ITEMS, 3, 2, 2), None, rows, torch.full((ITEMS,), -1)), None)
    return made


def batch(views: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(2)
    index = torch.tensor([7, 19, 0, 12])
    made = [torch.rand(4, 3, 2, 2, generator=generator) for _ in range(views)]
    return Batch(list(made), Key(0, 0, 107 + index), index)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("smoothing", [0.0, 0.8])
def test_an_items_target_is_its_index_in_every_view(views: int, smoothing: float) -> None:
    net, one = encoder(), batch(views)
    made = objective(net, smoothing)
    weight, index = made.classifier.weight.detach().double().numpy(), one.index.tolist()
    embeddings = [net(v).detach().double().numpy() for v in one.views]
    each = [slow.instance_cross_entropy(h, weight, index, smoothing) for h in embeddings]
    assert made(net, one)["total"].item() == pytest.approx(sum(each) / views, rel=1e-5)


def test_w_has_one_row_an_item_and_no_bias() -> None:
    made = objective(encoder())
    assert {name: tuple(p.shape) for name, p in made.named_parameters()} == {"classifier.weight": (ITEMS, 5)}


def test_all_weights_get_a_gradient_and_the_accuracy_gives_none() -> None:
    net = encoder()
    made = objective(net)
    terms = made(net, batch())
    assert not terms["accuracy"].requires_grad
    terms["total"].backward()
    for name, parameter in made.optimised(net):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert not {id(p) for p in net.parameters()} & {id(p) for p in made.parameters()}


def test_an_item_is_told_right_by_its_own_row() -> None:
    net, one = encoder(), batch()
    made = objective(net)
    with torch.no_grad():
        made.classifier.weight.zero_()
        made.classifier.weight[one.index[:3]] = torch.linalg.pinv(net(tensor(one.views[0])))[:, :3].T
    assert float(made(net, one)["accuracy"]) >= 0.75


def test_a_resumed_run_makes_the_same_w() -> None:
    net = encoder()
    torch.testing.assert_close(objective(net).state_dict(), objective(net).state_dict())


def test_it_trains_through_the_stage_and_w_is_thrown_away(pretrain: Pretrain) -> None:
    folder = pretrain(objective={"name": "diet"}, views={"name": "crop_colour", "views": 1, "blur": 0.0}) / "seed=0"
    assert {p.name for p in folder.iterdir()} == {"encoder.json", "encoder.safetensors", "history.parquet"}


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_out_of_range_is_the_users_mistake(smoothing: float) -> None:
    with pytest.raises(UserError):
        DIET(encoder(), smoothing=smoothing)
