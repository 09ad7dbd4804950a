"""MoCo around its loss: who makes keys, when the queue turns, how the averages move."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core.inputs import tensor
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.moco import MoCo, info_nce
from tests.oracles import losses
from tests.pretrain.objectives.test_objectives import batch, encoder


def made(**arguments: object) -> MoCo:
    torch.manual_seed(1)
    part = Part("moco", {"queue": 10, "out": 4, "temperature": 0.2, "momentum": 0.9} | arguments)
    objective: MoCo = registry.make("objective", part, encoder())
    return objective.train()


def test_info_nce_matches_a_loop_over_negatives_and_keys_get_no_gradient_from_the_teacher() -> None:
    rng = np.random.default_rng(0)
    q, k, n = rng.normal(size=(5, 3)), rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    found = info_nce(*(torch.from_numpy(z) for z in (q, k, n)), temperature=0.3)
    assert float(found) == pytest.approx(losses.info_nce(q, k, n, 0.3), rel=1e-5)


def test_closed_forms_of_info_nce() -> None:
    q = torch.eye(4)[:2]
    far = torch.eye(4)[2:]
    same = info_nce(q, q, q[:1].expand(6, 4), temperature=1.0)  # item 0: 7 equal logits; item 1: one of e against six of 1
    assert float(same) == pytest.approx((math.log(7) + math.log((math.e + 6) / math.e)) / 2, rel=1e-6)
    assert float(info_nce(q, q, far, temperature=0.01)) < 1e-6
    assert float(info_nce(3 * q, q, far, temperature=0.5)) == pytest.approx(float(info_nce(q, 7 * q, far, temperature=0.5)))


def test_the_total_is_of_the_first_views_queries_against_averaged_keys_and_the_queue() -> None:
    net, objective, one = encoder(), made(), batch()
    with torch.no_grad():
        for parameter in objective.momentum_encoder.parameters():
            parameter.mul_(1.5)  # the average lags behind
    before = objective.queue.kept.clone()
    total = objective(net, one)["total"]
    query = objective.projector(net(tensor(one.views[0]))).detach().double().numpy()
    with torch.no_grad():
        key = objective.momentum_projector(objective.momentum_encoder(tensor(one.views[1]))).double().numpy()
    assert float(total.detach()) == pytest.approx(losses.info_nce(query, key, before.double().numpy(), 0.2), rel=1e-4)
    total.backward()
    assert all(p.grad is None for p in objective.momentum_encoder.parameters())
    assert torch.equal(objective.queue.kept, before)  # until the step is done
    objective.after_step(net, 1, 10)
    expected = key / np.linalg.norm(key, axis=1, keepdims=True)
    np.testing.assert_allclose(objective.queue.kept[: len(key)].numpy(), expected, atol=1e-5)


def test_the_averages_move_by_one_tenth_at_a_momentum_of_nine_tenths() -> None:
    net, objective = encoder(), made()
    old = [p.clone() for p in objective.momentum_encoder.parameters()]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1.0)
    objective.after_step(net, 1, 10)
    for now, before, new in zip(objective.momentum_encoder.parameters(), old, net.parameters(), strict=True):
        torch.testing.assert_close(now, 0.9 * before + 0.1 * new)


def test_nothing_enters_the_queue_outside_training() -> None:
    net, objective, one = encoder(), made().eval(), batch()
    before = objective.queue.kept.clone()
    objective(net, one)
    objective.after_step(net, 1, 10)
    assert torch.equal(objective.queue.kept, before)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"queue": 0}, {"momentum": 1.5}], ids=str)
def test_arguments_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="out of its range"):
        made(**wrong)


def test_one_view_is_refused() -> None:
    one = batch()
    with pytest.raises(UserError, match="compares views"):
        made()(encoder(), Batch(one.views[:1], one.key, one.index))
