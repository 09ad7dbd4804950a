"""I-JEPA: what is predicted from what, which weights learn, and how the teacher follows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.i_jepa import IJepa, distance, normed, pixels, spread
from stages.views.core import masks
from stages.views.core.base import Key
from tests.oracles import i_jepa as slow

SMALL: dict[str, Any] = {"predictor_dim": 8, "predictor_depth": 2, "predictor_heads": 2}
VARIANTS = [{}, {"masks": "random"}, {"masks": "single"}, {"targets": "pixel"}, {"targets": "pixel", "masks": "random"}]


def encoder(**args: Any) -> Encoder:
    torch.manual_seed(0)
    front: Any = SimpleNamespace(shape=(3, 16, 16), channels=3)
    settings = {"patch": 2, "dim": 8, "depth": 2, "heads": 2, "pool": "mean", "positions": "sincos"} | args
    net = Encoder(front, registry.make("backbone", Part("vit", settings), front))
    net.mean.fill_(0.4)
    net.std.fill_(0.3)
    norm: Any = net.backbone.norm
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)  # at their initial values the targets' own norm would change nothing
    torch.nn.init.normal_(norm.bias, std=0.3)
    return net


def make(net: Encoder, **args: Any) -> IJepa:
    torch.manual_seed(1)
    made: IJepa = registry.make("objective", Part("i_jepa", SMALL | args), net)
    for parameter in made.predictor.parameters():  # weights of 0.02 would hide mistakes
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def batch(n: int = 5, views: int = 1, side: int = 16) -> Batch:
    generator = torch.Generator().manual_seed(2)
    drawn = [torch.rand(n, 3, side, side, generator=generator) for _ in range(views)]
    return Batch(list(drawn), Key(0, 0, torch.arange(n)), torch.arange(n))


def test_the_loss_is_that_of_the_slow_predictor() -> None:
    net, one = encoder(), batch(3)
    objective = make(net)
    w = {k: v.double().numpy() for k, v in objective.predictor.state_dict().items()}
    drawn, x = objective.draw(one), net.prepared(one.views[0])
    with torch.no_grad():
        whole = net.backbone.hidden(x)[-1].double().numpy()
        context = net.backbone.encode(net.backbone.embed(x).at(drawn.context))[-1].double().numpy()  # type: ignore[operator]
        total = float(objective(net, one)["total"])
    losses = []
    for item in range(3):
        seen = [divmod(i, 8) for i in drawn.context[item].tolist()]
        for block in drawn.targets[item].tolist():
            found = slow.predictor(context[item], seen, [divmod(i, 8) for i in block], w, 2, 2)
            losses.append(slow.distance(found, slow.normed(whole[item])[block], "smooth_l1"))
    assert total == pytest.approx(sum(losses) / len(losses), rel=1e-4)


@pytest.mark.parametrize("args", VARIANTS)
def test_every_learnt_weight_gets_a_gradient_and_the_teacher_none(args: dict[str, Any]) -> None:
    net = encoder()
    objective = make(net, **args)
    terms = objective(net, batch())
    assert set(terms) == {"total", "spread", "seen"}
    assert all(v.shape == () and v.dtype == torch.float32 and torch.isfinite(v) for v in terms.values())
    terms["total"].backward()
    learnt = dict(objective.optimised(net))
    assert not [name for name in learnt if "teacher" in name]
    for name, parameter in learnt.items():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    if objective.teacher is not None:
        assert all(p.grad is None and not p.requires_grad for p in objective.teacher.parameters())


def test_the_encoder_is_not_kept_inside_the_objective() -> None:
    net = encoder()
    assert not {id(p) for p in net.parameters()} & {id(p) for p in make(net).parameters()}


def test_no_gradient_flows_through_the_targets() -> None:
    """A gradient that also came from the targets would differ from the one with the targets written down beforehand."""
    net, one = encoder(), batch()
    objective = make(net, momentum=[0.0, 0.0])
    drawn, x = objective.draw(one), net.prepared(one.views[0])
    fixed = normed(net.backbone.hidden(x)[-1]).detach()
    rows = torch.arange(5)[:, None, None]
    context = net.backbone.encode(net.backbone.embed(x).at(drawn.context))[-1]  # type: ignore[operator]
    distance(objective.predictor(context, drawn), fixed[rows, drawn.targets], kind="smooth_l1").backward()
    wanted = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    objective(net, one)["total"].backward()
    for parameter, gradient in zip(net.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_the_context_encoder_sees_no_other_patch() -> None:
    net, one = encoder(), batch()
    objective = make(net)
    x = one.views[0].clone().requires_grad_()  # type: ignore[union-attr]
    objective(net, Batch([x], one.key, one.index))["total"].backward()
    touched = x.grad.abs().sum(1).view(5, 8, 2, 8, 2).sum((2, 4)).flatten(1) > 0  # type: ignore[union-attr]
    seen = torch.zeros(5, 64, dtype=torch.bool).scatter_(1, objective.draw(one).context, True)
    assert torch.equal(touched, seen)


def test_blocks_are_predicted_apart_and_patches_by_their_place() -> None:
    net, one = encoder(), batch()
    objective = make(net)
    drawn = objective.draw(one)
    h = torch.randn(5, drawn.context.shape[1], 8)
    with torch.no_grad():
        together = objective.predictor(h, drawn)
        for k in range(4):
            alone = objective.predictor(h, masks.Masks(drawn.context, drawn.targets[:, k : k + 1]))
            torch.testing.assert_close(alone[:, 0], together[:, k])
        order = torch.randperm(drawn.targets.shape[2])
        turned = objective.predictor(h, masks.Masks(drawn.context, drawn.targets[:, :, order]))
        shuffle = torch.randperm(drawn.context.shape[1])
        mixed = objective.predictor(h[:, shuffle], masks.Masks(drawn.context[:, shuffle], drawn.targets))
    torch.testing.assert_close(turned, together[:, :, order])
    torch.testing.assert_close(mixed, together)
    assert (together[:, :, 1:] - together[:, :, :1]).abs().max() > 1e-2


@pytest.mark.parametrize("momentum", [(0.9, 1.0), (0.5, 0.5), (0.996, 1.0)])
def test_the_teacher_is_the_average_in_closed_form(momentum: tuple[float, float]) -> None:
    net, steps = encoder(), 7
    objective = make(net, momentum=list(momentum))
    start = float(next(net.parameters()).detach().flatten()[0])
    values = [1.0, -2.0, 4.0, 8.0, 0.5, 3.0, -1.0]
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(value)
        objective.after_step(net, step, steps)
    m = [momentum[0] + (momentum[1] - momentum[0]) * i / steps for i in range(steps)]
    expected = start * np.prod(m) + sum((1 - m[i]) * values[i] * np.prod(m[i + 1 :]) for i in range(steps))
    assert objective.teacher is not None
    assert float(next(objective.teacher.parameters()).flatten()[0]) == pytest.approx(expected, rel=1e-5)


def test_without_momentum_the_teacher_is_the_encoder() -> None:
    net = encoder()
    objective = make(net, momentum=[0.0, 0.0])
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    objective.after_step(net, 1, 10)
    assert all(torch.equal(a, b) for a, b in zip(objective.exported(net).parameters(), net.parameters()))


def test_the_teacher_is_exported_and_survives_a_restart() -> None:
    net = encoder()
    objective, one = make(net), batch()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    objective.after_step(net, 1, 10)
    exported = objective.exported(net)
    assert isinstance(exported, Encoder) and exported is not net and torch.equal(exported.mean, net.mean)
    again = make(encoder())
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(net, one)["total"], objective(net, one)["total"])
    assert make(net, targets="pixel").exported(net) is net


def test_the_teacher_stays_in_evaluation_mode() -> None:
    objective = make(encoder())
    objective.train()
    assert objective.teacher is not None and not any(m.training for m in objective.teacher.module.modules())


def test_variants_differ_in_masks_alone() -> None:
    net, one = encoder(), batch(40)
    blocks, single, spread_out = (make(net, masks=kind).draw(one) for kind in ("multiblock", "single", "random"))
    assert blocks.targets.shape[1] == 4 and single.targets.shape[1] == spread_out.targets.shape[1] == 1
    assert spread_out.context.shape == blocks.context.shape
    assert torch.equal(make(net, masks="multiblock", targets="pixel").draw(one).targets, blocks.targets)
    terms = make(net)(net, one)
    assert float(terms["seen"]) == pytest.approx(blocks.context.shape[1] / 64)


def test_several_views_are_averaged() -> None:
    net, two = encoder(), batch(views=2)
    objective = make(net)
    apart = [objective(net, Batch([v], two.key, two.index))["total"] for v in two.views]
    torch.testing.assert_close(objective(net, two)["total"], (apart[0] + apart[1]) / 2)


@pytest.mark.parametrize("kind", ["smooth_l1", "l2"])
def test_the_distance_is_that_of_the_loop(kind: str) -> None:
    a, b = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1.5
    assert float(distance(a, b, kind=kind)) == pytest.approx(slow.distance(a.numpy(), b.numpy(), kind), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: distance(x, b, kind=kind), (a.requires_grad_(),))
    assert float(distance(b, b, kind=kind)) == 0


@pytest.mark.parametrize(
    ("apart", "smooth", "square"), [(0.5, 0.125, 0.25), (1.0, 0.5, 1.0), (3.0, 2.5, 9.0), (-3.0, 2.5, 9.0)]
)
def test_the_distance_of_constants_has_a_closed_form(apart: float, smooth: float, square: float) -> None:
    a = torch.randn(2, 3)
    assert float(distance(a, a + apart, kind="smooth_l1")) == pytest.approx(smooth, rel=1e-5)
    assert float(distance(a, a + apart, kind="l2")) == pytest.approx(square, rel=1e-5)


def test_losses_are_computed_in_float32_under_autocast() -> None:
    a, b = torch.randn(2, 4, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = distance(a, b, kind="smooth_l1"), normed(a), spread(a[None, None])
    assert all(v.dtype == torch.float32 for v in found)
    assert torch.equal(found[0], distance(a.float(), b.float(), kind="smooth_l1"))


def test_latent_targets_have_no_mean_and_unit_variance() -> None:
    h = torch.randn(3, 7, 16, dtype=torch.float64)
    np.testing.assert_allclose(normed(h)[1], slow.normed(h[1].numpy()), rtol=1e-10)
    torch.testing.assert_close(normed(3 * h + 5), normed(h), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("patch", [(2, 2), (4, 2)])
def test_pixel_targets_are_normalised_patch_by_patch(patch: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 8, 12, dtype=torch.float64)
    np.testing.assert_allclose(pixels(x, patch)[1], slow.pixels(x[1].numpy(), patch), rtol=1e-9)
    torch.testing.assert_close(pixels(2 * x + 7, patch), pixels(x, patch), rtol=1e-4, atol=1e-4)
    assert torch.equal(pixels(torch.ones(1, 3, 8, 8), (4, 4)), torch.zeros(1, 4, 48))


def test_spread_is_nought_for_one_target_everywhere_and_one_for_unit_noise() -> None:
    assert float(spread(torch.ones(4, 2, 3, 5))) == 0
    noise = torch.randn(200, 4, 10, 8, generator=torch.Generator().manual_seed(0))
    assert float(spread(noise)) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {"momentum": [1.1, 1.0]},
        {"momentum": [0.9, -0.1]},
        {"predictor_dim": 10},
        {"predictor_dim": 12, "predictor_heads": 5},
        {"predictor_depth": 0},
        {"blocks": 0},
        {"target_area": [0.5, 0.2]},
        {"masks": "spiral"},
        {"targets": "words"},
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        make(encoder(), **wrong)


def test_a_backbone_without_patches_is_refused() -> None:
    front: Any = SimpleNamespace(shape=(3, 8, 8), channels=3)
    net = Encoder(front, registry.make("backbone", Part("mlp", {"widths": [8]}), front))
    with pytest.raises(ContractError, match="use backbone vit"):
        make(net)


def test_views_of_another_side_are_refused() -> None:
    net = encoder()
    with pytest.raises(ContractError, match="36 patches"):
        make(net)(net, batch(side=12))


def test_blocks_that_leave_no_context_are_the_users_mistake() -> None:
    net = encoder()
    with pytest.raises(UserError, match="leave no context"):
        make(net, target_area=[1.0, 1.0], target_ratio=[1.0, 1.0])(net, batch())


def test_the_published_predictor_has_its_number_of_weights() -> None:
    """12 blocks of 12 d^2 + 13 d, maps 1280 -> 384 -> 1280, a norm and a mask token."""
    front: Any = SimpleNamespace(shape=(3, 224, 224), channels=3)
    with torch.device("meta"):
        vit = registry.make("backbone", Part("vit", {"patch": 14, "dim": 1280, "depth": 1, "heads": 16, "pool": "mean"}), front)
        made: IJepa = registry.make("objective", Part("i_jepa", {"targets": "pixel"}), Encoder(front, vit))
    d, out = 384, 3 * 14 * 14
    expected = 12 * (12 * d * d + 13 * d) + 1280 * d + d + 2 * d + d + d * out + out
    assert sum(p.numel() for p in made.predictor.parameters()) == expected
    assert isinstance(made.predictor.positions, Tensor) and made.predictor.positions.shape == (256, 384)
