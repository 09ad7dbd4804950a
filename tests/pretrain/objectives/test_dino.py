"""DINO around its loss: who sees which views, how the teacher and the centre move, what is exported."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.objectives.dino import DINO, Head
from stages.views.core.base import Key
from tests.oracles import dino as slow

SMALL: dict[str, object] = {"out": 12, "hidden": 8, "bottleneck": 4, "frozen": 0.0}


class Pool(nn.Module):
    """A stand-in encoder of x (B, C, T), T as it comes: the mean over T, then a linear map."""

    width = 5

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.map(x.mean(2))
        return h


def made(**args: object) -> tuple[Encoder, DINO]:
    torch.manual_seed(0)
    net: Encoder = Pool()  # type: ignore[assignment]
    objective: DINO = registry.make("objective", Part("dino", SMALL | args), net)
    return net, objective.train()  # type: ignore[return-value]


def batch(n: int = 6, lengths: tuple[int, ...] = (8, 8, 2, 2)) -> Batch:
    generator = torch.Generator().manual_seed(2)
    views = [torch.randn(n, 3, t, generator=generator) for t in lengths]
    return Batch(list(views), Key(0, 0, torch.arange(n)), torch.arange(n))


def outputs(net: nn.Module, head: nn.Module, views: list[Tensor]) -> list[list[list[float]]]:
    with torch.no_grad():
        return [head(net(v)).double().tolist() for v in views]


def test_the_total_is_the_loss_of_all_views_against_the_teachers_of_the_global_ones() -> None:
    net, objective = made()
    objective.centre.copy_(torch.linspace(-1, 1, 12))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3)  # the student has moved on, the teacher has not
    one = batch()
    student = outputs(net, objective.head, one.views)  # type: ignore[arg-type]
    teacher = outputs(objective.teacher, objective.teacher_head, one.views[:2])  # type: ignore[arg-type]
    expected = slow.cross_entropy(student, teacher, objective.centre.tolist(), 0.1, 0.04)
    terms = {name: value.detach() for name, value in objective(net, one).items()}
    assert float(terms["total"]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["entropy"]) == pytest.approx(slow.entropy(teacher, objective.centre.tolist(), 0.04), rel=1e-4)


def test_the_head_gives_cosines_with_unit_vectors() -> None:
    torch.manual_seed(0)
    head = Head(5, 8, 4, 6, 3)
    h = torch.randn(7, 5)
    weights = {k: v.double().numpy() for k, v in head.state_dict().items()}
    expected = np.stack([slow.head(row, weights, 3) for row in h.double().numpy()])
    found = head(h)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-5)
    with torch.no_grad():
        head.last.mul_(17)  # the length of an output's vector says nothing
    torch.testing.assert_close(head(h), found)


def test_the_student_learns_and_the_teacher_does_not() -> None:
    net, objective = made()
    objective(net, batch())["total"].backward()
    trained = dict(objective.optimised(net))
    assert {n for n, p in trained.items() if p.grad is None} == set()
    assert not any("teacher" in n for n in trained)
    assert all(p.grad is None for p in objective.teacher.parameters())
    assert not objective.teacher.module.training


def test_after_a_step_the_teacher_and_the_centre_have_moved_by_their_momenta() -> None:
    net, objective = made(momentum=0.9, centre_momentum=0.8)
    before = [p.clone() for p in objective.teacher.parameters()]
    with torch.no_grad():
        for p in [*net.parameters(), *objective.head.parameters()]:
            p.add_(1.0)
    one = batch()
    teacher = outputs(objective.teacher, objective.teacher_head, one.views[:2])  # type: ignore[arg-type]
    objective(net, one)
    objective.after_step(net, 1, 10)
    for old, new, student in zip(before, objective.teacher.parameters(), net.parameters()):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * student)
    np.testing.assert_allclose(objective.centre.numpy(), slow.centred([0.0] * 12, teacher, 0.8), atol=1e-6)
    before = [p.clone() for p in objective.teacher.parameters()]
    objective.after_step(net, 2, 10)  # no batch since: the centre only fades; the momentum has risen
    moved = 1 - 0.1 * (1 + math.cos(math.pi / 10)) / 2
    for old, new, student in zip(before, objective.teacher.parameters(), net.parameters()):
        torch.testing.assert_close(new, moved * old + (1 - moved) * student, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(objective.centre.numpy(), 0.8 * np.array(slow.centred([0.0] * 12, teacher, 0.8)), atol=1e-6)


def test_batches_of_one_step_share_in_the_centre() -> None:
    net, objective = made(centre_momentum=0.0)
    one, two = batch(), batch(lengths=(4, 4))
    teacher = outputs(objective.teacher, objective.teacher_head, [*one.views[:2], *two.views])  # type: ignore[list-item]
    objective(net, one)
    objective(net, two)
    objective.after_step(net, 1, 10)
    np.testing.assert_allclose(objective.centre.numpy(), slow.centred([0.0] * 12, teacher, 0.0), atol=1e-6)


def test_the_centre_does_not_move_outside_training() -> None:
    net, objective = made()
    objective.train(False)
    objective(net, batch())
    assert not objective.seen.any() and not objective.batches.any()


def test_the_last_layer_waits_while_it_is_frozen() -> None:
    net, objective = made(frozen=0.5)
    for step, waits in ((0, True), (4, True), (5, False)):
        objective.done.fill_(step / 10)
        for p in objective.head.parameters():
            p.grad = None
        objective(net, batch())["total"].backward()
        assert (objective.head.last.grad is None) == waits
        assert objective.head.mlp[0].weight.grad is not None


def test_the_teacher_becomes_the_encoder_and_all_state_comes_back() -> None:
    net, objective = made()
    assert objective.exported(net) is objective.teacher.module and objective.exported(net) is not net
    objective(net, batch())
    objective.after_step(net, 3, 10)
    again = made()[1]
    again.load_state_dict(objective.state_dict())
    first, second = (o(net, batch())["total"] for o in (objective, again))
    assert torch.equal(first, second) and float(again.done) == pytest.approx(0.3)


def test_too_few_views_are_the_users_mistake() -> None:
    net, objective = made()
    with pytest.raises(UserError, match="compares views"):
        objective(net, batch(lengths=(8,)))
    other: Objective = made(global_views=3)[1]
    with pytest.raises(UserError, match="takes 3 global views, there are 2"):
        other(net, batch(lengths=(8, 8)))


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"teacher_temperature": [0.0, 0.1]}, {"momentum": 1.5}, {"out": 0}, {"frozen": -0.1}]
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        made(**wrong)
