"""data2vec 2.0: targets and decoder against loops, the same objective over every transformer, what the student sees."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input, Padded, Tokens
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.data2vec2 import Data2Vec2, Decoder, error, ffn_outputs, momentum_of, placed, spread, targets
from stages.views.core.base import Key
from tests.oracles import data2vec2 as slow

SMALL: dict[str, Any] = {"masks": 3, "decoder_dim": 8, "decoder_layers": 2, "decoder_groups": 2}
SEQUENCE: dict[str, Any] = SMALL | {"hidden": 0.5, "side": 2, "global_weight": 0.0}
WORDS: Any = SimpleNamespace(shape=(12,), channels=0, vocabulary=50, contract={"tokenizer": True})
WAVE: Any = SimpleNamespace(shape=(1, 600), channels=1)
MEL: Any = SimpleNamespace(shape=(1, 8, 24), channels=1)
PICTURE: Any = SimpleNamespace(shape=(3, 16, 16), channels=3)
FRAMES: dict[str, Any] = {"channels": 8, "kernels": [10, 4], "strides": [5, 4], "dim": 8, "depth": 2, "heads": 2, "inner": 16}
BACKBONES: dict[str, tuple[Any, Part, dict[str, Any]]] = {
    "vit": (PICTURE, Part("vit", {"patch": 4, "dim": 8, "depth": 2, "heads": 2, "pool": "mean"}), SMALL | {"side": 2}),
    "vit_cls": (PICTURE, Part("vit", {"patch": 4, "dim": 8, "depth": 2, "heads": 2}), SMALL | {"side": 2}),
    "mel": (MEL, Part("mel_transformer", {"dim": 8, "depth": 2, "heads": 2}), SEQUENCE),
    "wave": (
        WAVE,
        Part("wav2vec2", FRAMES | {"position_kernel": 4, "position_groups": 2, "layer_drop": 0.0, "dropout": 0.0}),
        SEQUENCE,
    ),
    "text": (WORDS, Part("text_transformer", {"dim": 8, "depth": 2, "heads": 2, "pool": "mean"}), SEQUENCE | {"side": 1}),
}


def made(kind: str, **args: Any) -> tuple[Encoder, Data2Vec2]:
    """An encoder whose weights are drawn wide, so that mistakes show, and its objective."""
    torch.manual_seed(0)
    front, part, own = BACKBONES[kind]
    net = Encoder(front, registry.make("backbone", part, front))
    for parameter in net.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return net, registry.make("objective", Part("data2vec2", own | args), net)


def batch(kind: str, n: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(2)
    front, index = BACKBONES[kind][0], torch.arange(n)
    x: Input = torch.rand(n, *front.shape, generator=generator)
    if kind == "text":
        x = torch.randint(5, 50, (n, 12), generator=generator)
    if kind not in ("vit", "vit_cls"):
        whole = front.shape[-1]
        x = Padded(x, torch.tensor([whole, whole // 2, whole * 3 // 4, whole])[:n])
    return Batch([x], Key(0, 0, index), index)


@pytest.mark.parametrize("visible_only", [True, False])
@pytest.mark.parametrize("kind", BACKBONES)
def test_every_learnt_weight_gets_a_gradient_and_the_teacher_none(kind: str, visible_only: bool) -> None:
    net, objective = made(kind, visible_only=visible_only)
    terms = objective(net, batch(kind))
    assert {"total", "spread", "predicted_spread", "visible"} <= set(terms)
    assert all(v.shape == () and torch.isfinite(v) for v in terms.values()) and terms["total"].dtype == torch.float32
    terms["total"].backward()
    for name, parameter in objective.optimised(net):
        assert "teacher" not in name
        if name != "encoder.backbone.mask":  # wav2vec2's own mask token is another objective's
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert all(p.grad is None and not p.requires_grad for p in objective.teacher.parameters())


@pytest.mark.parametrize("kind", ["vit", "wave", "text"])
def test_the_loss_is_that_of_targets_and_decoder_by_loops(kind: str) -> None:
    net, objective = made(kind, noise=0.5)
    one = batch(kind, 3)
    x = net.prepared(one.views[0])
    with torch.no_grad():
        terms = objective(net, one)
        tokens = net.backbone.embed(x)  # type: ignore[operator]
        layers = [h.double().numpy() for h in ffn_outputs(net.backbone, tokens)]  # type: ignore[arg-type]
    own = np.ones(layers[0].shape[:2], bool) if tokens.own is None else tokens.own.numpy()
    w = {k: v.double().numpy() for k, v in objective.decoder.state_dict().items()}
    visible, noise = objective.draw(one, torch.from_numpy(own).repeat_interleave(3, 0))
    squares: list[float] = []
    overall: list[float] = []
    for item in range(3):
        wanted = slow.targets([h[item] for h in layers], own[item], "instance", True)
        for m in range(3):
            s = item * 3 + m
            places = torch.nonzero(visible[s])[:, 0]
            given = Tokens(tokens.h[item : item + 1, places], None if tokens.own is None else torch.ones(1, len(places)).bool())
            with torch.no_grad():  # alone: no other item's length pads it
                h = net.backbone.encode(Tokens(given.h, given.own, places[None]))[-1]  # type: ignore[operator]
                if objective.glance is not None:
                    glance = objective.glance(h.mean(1))[0].double().numpy()
                    overall += list((glance - wanted[own[item]].mean(0)) ** 2)
            full = noise[s].double().numpy().copy()
            full[places.numpy()] = h[0].double().numpy()
            found = slow.decoder(full, own[item], objective.decoder.grid or (1, len(full)), w, 2, 2)
            asked = own[item] & ~visible[s].numpy()
            squares += list(((found - wanted)[asked] ** 2).ravel())
    expected = sum(squares) / len(squares) + (0.01 * sum(overall) / len(overall) if overall else 0)
    assert float(terms["total"]) == pytest.approx(expected, rel=2e-4)


@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("norm_targets", [True, False])
def test_targets_are_those_of_the_loop(norm: str, norm_targets: bool) -> None:
    layers = torch.randn(3, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 + 1
    own = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    found = targets(layers, own, norm=norm, norm_targets=norm_targets).numpy()
    for item in range(2):
        each = [h[item].numpy() for h in layers]
        np.testing.assert_allclose(
            found[item], slow.targets(each, own[item].numpy(), norm, norm_targets), rtol=1e-9, atol=1e-12
        )


def test_targets_of_one_block_have_mean_nought_and_variance_one_over_the_items_tokens() -> None:
    h = torch.randn(1, 3, 40, 6, dtype=torch.float64) * 5 + 2
    found = targets(h, torch.ones(3, 40, dtype=torch.bool), norm="instance", norm_targets=False)
    torch.testing.assert_close(found.mean(1), torch.zeros(3, 6, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(found.var(1, correction=0), torch.ones(3, 6, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        targets(3 * h + 7, torch.ones(3, 40).bool(), norm="instance", norm_targets=False), found, atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(("grid", "kernel"), [((3, 4), 3), (None, 5)])
@pytest.mark.parametrize(("dim", "groups"), [(8, 2), (4, 4), (8, 1)])
def test_the_decoder_is_that_of_the_loop(grid: tuple[int, int] | None, kernel: int, dim: int, groups: int) -> None:
    torch.manual_seed(0)
    net = Decoder(8, grid, dim, 3, kernel, groups).double()
    h, own = torch.randn(1, 12, 8, dtype=torch.float64), torch.ones(1, 12, dtype=torch.bool)
    if grid is None:
        own[0, 9:] = False
    w = {k: v.numpy() for k, v in net.state_dict().items()}
    expected = slow.decoder(h[0].numpy(), own[0].numpy(), grid or (1, 12), w, 3, groups)
    np.testing.assert_allclose(net(h, own)[0].detach().numpy(), expected, rtol=1e-7, atol=1e-9)


def test_the_ffn_outputs_are_what_each_block_adds_last() -> None:
    net, _ = made("vit_cls")
    tokens = net.backbone.embed(torch.rand(2, 3, 16, 16))  # type: ignore[operator]
    found = ffn_outputs(net.backbone, tokens)  # type: ignore[arg-type]
    blocks: Any = net.backbone.blocks
    h = torch.cat([net.backbone.cls.expand(2, -1, -1), tokens.h], 1)  # type: ignore[union-attr]
    for block, out in zip(blocks, found, strict=True):
        h = h + block.attend(block.norm1(h))
        torch.testing.assert_close(out, block.mlp(block.norm2(h))[:, 1:])
        h = h + block.mlp(block.norm2(h))
    assert not any(block.mlp._forward_hooks for block in blocks)


@pytest.mark.parametrize("kind", ["vit", "mel", "wave", "text"])
def test_the_student_sees_the_visible_tokens_alone(kind: str) -> None:
    net, objective = made(kind)
    one = batch(kind)
    tokens = net.backbone.embed(net.prepared(one.views[0]))  # type: ignore[operator]
    own = torch.ones(tokens.h.shape[:2], dtype=torch.bool) if tokens.own is None else tokens.own
    visible, _ = objective.draw(one, own.repeat_interleave(3, 0))
    h = tokens.h.detach().repeat_interleave(3, 0).requires_grad_()
    given = Tokens(h, None if tokens.own is None else own.repeat_interleave(3, 0))
    found, _ = objective.seen(net, given, visible)
    assert torch.equal(found.abs().sum(2) > 0, visible)
    (found * torch.randn_like(found)).sum().backward()
    assert h.grad is not None and torch.equal(h.grad.abs().sum(2) > 0, visible)


def test_the_teacher_sees_all_and_serves_every_mask() -> None:
    net, objective = made("vit")
    calls: list[int] = []
    objective.teacher.module.backbone.register_forward_hook(lambda *_: calls.append(0))  # type: ignore[union-attr]
    first: Any = objective.teacher.module.backbone.blocks  # type: ignore[union-attr]
    first[0].register_forward_hook(lambda _m, given, _o: calls.append(given[0].shape[:2]))
    objective(net, batch("vit"))
    assert calls == [(4, 16)]


def test_mask_tokens_keep_their_places() -> None:
    """Without position two pictures' hidden patches would be alike; the encoder works on all N tokens."""
    net, objective = made("vit", visible_only=False)
    seen: list[torch.Tensor] = []
    blocks: Any = net.backbone.blocks
    blocks[0].register_forward_hook(lambda _m, given, _o: seen.append(given[0].detach()))
    one = batch("vit")
    objective(net, one)
    visible, noise = objective.draw(one, torch.ones(12, 16, dtype=torch.bool))
    assert seen[0].shape == (12, 16, 8) and not noise.any() and objective.mask is not None
    expected = (objective.mask + net.backbone.positions).expand(12, -1, -1)  # type: ignore[operator]
    torch.testing.assert_close(seen[0][~visible], expected[~visible])
    assert not placed(made("mel")[0].backbone, 5).any()  # type: ignore[arg-type]


def test_masks_differ_and_follow_from_the_key_alone() -> None:
    _, objective = made("vit", masks=8)
    own = torch.ones(32, 16, dtype=torch.bool)
    one = batch("vit")
    visible, noise = objective.draw(one, own)
    assert (visible.sum(1) == 3).all() and len({tuple(v.tolist()) for v in visible}) > 20
    again, same = objective.draw(Batch(one.views, Key(0, 0, torch.tensor([3])), one.index), own[:8])
    assert torch.equal(again, visible[24:]) and torch.equal(same, noise[24:])
    assert float(noise.std()) == pytest.approx(0.01, rel=0.1)
    other, _ = objective.draw(Batch(one.views, Key(0, 1, torch.tensor([3])), one.index), own[:8])
    assert not torch.equal(other, again)


@pytest.mark.parametrize("anneal", [None, 3])
def test_the_teacher_is_the_average_in_closed_form(anneal: int | None) -> None:
    net, objective = made("text", momentum=[0.9, 0.99], anneal=anneal)
    start = float(next(net.parameters()).detach().flatten()[0])
    values, steps = [1.0, -2.0, 4.0, 8.0, 0.5, 3.0], 6
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.fill_(value)
        objective.after_step(net, step, steps)
    n = anneal or steps
    tau = [0.9 + 0.09 * min(1, i / n) for i in range(steps)]
    expected = start * np.prod(tau) + sum((1 - tau[i]) * values[i] * np.prod(tau[i + 1 :]) for i in range(steps))
    assert float(next(objective.teacher.parameters()).flatten()[0]) == pytest.approx(expected, rel=1e-5)
    assert momentum_of(1, (0.9, 0.99), 4) == 0.9 and momentum_of(5, (0.9, 0.99), 4) == momentum_of(99, (0.9, 0.99), 4) == 0.99


def test_what_is_trained_is_exported_and_the_teacher_survives_a_restart() -> None:
    net, objective = made("vit")
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.5)
    objective.after_step(net, 1, 10)
    assert objective.exported(net) is net and not objective.train().teacher.module.training
    again = made("vit")[1]
    again.load_state_dict(objective.state_dict())
    assert torch.equal(again(net, batch("vit"))["total"], objective(net, batch("vit"))["total"])


def test_error_and_spread_have_closed_forms() -> None:
    a = torch.randn(6, 4)
    assert float(error(a, a + 3)) == pytest.approx(9, rel=1e-5) and float(error(a, a)) == 0
    assert float(error(a[:0], a[:0])) == 0 and float(spread(a[:0])) == 0 and float(spread(torch.ones(5, 3))) == 0
    assert error(a.bfloat16(), a.bfloat16()).dtype == torch.float32
    assert torch.autograd.gradcheck(lambda x: error(x, a.double()), (torch.randn(6, 4).double().requires_grad_(),))


@pytest.mark.parametrize(
    "wrong",
    [
        {"masks": 0},
        {"hidden": 1.0},
        {"hidden": 0.0},
        {"side": 0},
        {"noise": -0.1},
        {"global_weight": -1.0},
        {"momentum": [0.9, 1.1]},
        {"anneal": 0},
        {"top": 3},
        {"top": 0},
        {"norm": "batch"},
        {"source": "attention"},
        {"decoder_kernel": 4},
        {"decoder_layers": 0},
        {"decoder_groups": 3},
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        made("vit", **wrong)


def test_what_it_cannot_take_is_refused() -> None:
    net = Encoder(PICTURE, registry.make("backbone", Part("mlp", {"widths": [8]}), PICTURE))
    with pytest.raises(ContractError, match="no tokens"):
        registry.make("objective", Part("data2vec2", SMALL), net)
    net, objective = made("vit")
    one = batch("vit")
    with pytest.raises(UserError, match="one view"):
        objective(net, Batch(one.views * 2, one.key, one.index))
    small = Batch([torch.rand(4, 3, 12, 12)], one.key, one.index)
    with pytest.raises(ContractError, match="9 patches"):
        objective(net, small)
