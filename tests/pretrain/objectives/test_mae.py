"""Masked autoencoder: pixels and decoder against loops, what the encoder sees, what counts."""

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
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.mae import MaskedAutoencoder, error, pixels
from stages.views.core.base import Key
from tests.oracles import i_jepa as slow

PICTURE: Any = SimpleNamespace(shape=(3, 12, 16), channels=3)
SMALL: dict[str, Any] = {"decoder_dim": 8, "decoder_depth": 2, "decoder_heads": 2}


def made(**args: Any) -> tuple[Encoder, MaskedAutoencoder]:
    torch.manual_seed(0)
    vit = {"patch": 4, "dim": 8, "depth": 2, "heads": 2} | {k: args.pop(k) for k in ("pool",) if k in args}
    net = Encoder(PICTURE, registry.make("backbone", Part("vit", vit), PICTURE))
    net.mean.fill_(0.4)
    net.std.fill_(0.3)
    objective = registry.make("objective", Part("mae", SMALL | args), net)
    for parameter in objective.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net, objective


def batch(n: int = 4, **shape: Any) -> Batch:
    x = torch.rand(n, 3, 12, shape.get("width", 16), generator=torch.Generator().manual_seed(2))
    return Batch([x], Key(0, 0, torch.arange(n)), torch.arange(n))


@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_that_of_the_slow_decoder(normalise: bool) -> None:
    net, objective = made(normalise=normalise)
    one = batch(3)
    x, order = net.prepared(one.views[0]), objective.draw(one)
    w = {k: v.double().numpy() for k, v in objective.state_dict().items()}
    with torch.no_grad():
        total = float(objective(net, one)["total"])
        h = net.backbone.encode(net.backbone.embed(x).at(order[:, :3]))[-1].double().numpy()  # type: ignore[operator]
    losses = []
    for item in range(3):
        seen, asked = order[item, :3].tolist(), order[item, 3:].tolist()
        found = slow.predictor(h[item], [divmod(i, 4) for i in seen], [divmod(i, 4) for i in asked], w, 2, 2)
        wanted = slow.pixels(x[item].double().numpy(), (4, 4))
        if not normalise:
            wanted = torch.nn.functional.unfold(x[item], (4, 4), stride=(4, 4)).T.double().numpy()
        losses.append(np.mean((found - wanted[asked]) ** 2))
    assert total == pytest.approx(float(np.mean(losses)), rel=1e-4)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_every_learnt_weight_gets_a_gradient(pool: str) -> None:
    net, objective = made(pool=pool)
    objective(net, batch())["total"].backward()
    for name, parameter in objective.optimised(net):
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_the_encoder_sees_the_visible_patches_and_the_others_alone_count() -> None:
    net, objective = made(normalise=False)
    one = batch()
    order = objective.draw(one)
    seen = torch.zeros(4, 12, dtype=torch.bool).scatter(1, order[:, :3], True)

    def total(x: torch.Tensor) -> torch.Tensor:
        return objective(net, Batch([x], one.key, one.index))["total"]

    x = one.views[0].clone()  # type: ignore[union-attr]
    patches = x.view(4, 3, 3, 4, 4, 4)  # rows of patches, their pixels, columns, their pixels
    hidden = ~seen.view(4, 1, 3, 1, 4, 1).expand_as(patches)
    inputs: list[torch.Tensor] = []
    blocks: Any = net.backbone.blocks
    hook = blocks[0].register_forward_hook(lambda _m, given, _o: inputs.append(given[0].detach()))
    before = total(x)
    after = total(torch.where(hidden, patches + 1.0, patches).reshape(x.shape))
    hook.remove()
    assert torch.equal(inputs[0], inputs[1]) and inputs[0].shape == (4, 1 + 3, 8) and not torch.equal(before, after)
    assert float(objective(net, one)["visible"]) == pytest.approx(0.25)


def test_masks_follow_from_the_key_alone() -> None:
    _, objective = made()
    one = batch()
    order = objective.draw(one)
    assert all(sorted(o.tolist()) == list(range(12)) for o in order) and len({tuple(o.tolist()) for o in order}) == 4
    alone = Batch(one.views, Key(0, 0, torch.tensor([2])), one.index)
    assert torch.equal(objective.draw(alone)[0], order[2])
    assert not torch.equal(objective.draw(Batch(one.views, Key(0, 1, torch.tensor([2])), one.index))[0], order[2])


def test_targets_do_not_change_with_contrast_and_the_error_has_a_closed_form() -> None:
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(
        pixels(2 * x + 7, (4, 4), normalise=True), pixels(x, (4, 4), normalise=True), rtol=1e-4, atol=1e-4
    )
    a = torch.randn(2, 3, 4)
    assert float(error(a, a + 2)) == pytest.approx(4, rel=1e-5) and error(a.bfloat16(), a.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize(
    "wrong", [{"hidden": 0.0}, {"hidden": 1.0}, {"decoder_dim": 9}, {"decoder_depth": 0}, {"decoder_heads": 3}]
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        made(**wrong)


def test_what_it_cannot_take_is_refused() -> None:
    net = Encoder(PICTURE, registry.make("backbone", Part("mlp", {"widths": [8]}), PICTURE))
    with pytest.raises(ContractError, match="use backbone vit"):
        registry.make("objective", Part("mae", SMALL), net)
    net, objective = made()
    one = batch()
    with pytest.raises(UserError, match="one view"):
        objective(net, Batch(one.views * 2, one.key, one.index))
    with pytest.raises(ContractError, match="9 patches"):
        objective(net, batch(width=12))


def test_the_published_decoder_has_its_number_of_weights() -> None:
    """8 blocks of 12 d^2 + 13 d, maps 1024 -> 512 -> 768, a norm and a mask token: of ViT-L at 16 x 16."""
    front: Any = SimpleNamespace(shape=(3, 224, 224), channels=3)
    with torch.device("meta"):
        vit = registry.make("backbone", Part("vit", {"patch": 16, "dim": 1024, "depth": 1, "heads": 16}), front)
        objective = registry.make("objective", Part("mae"), Encoder(front, vit))
    d = 512
    expected = 8 * (12 * d * d + 13 * d) + 1024 * d + d + 2 * d + d + d * 768 + 768
    assert sum(p.numel() for p in objective.parameters()) == expected
