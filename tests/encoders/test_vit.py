from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.encoders.backbones.vit import sincos_positions
from tests.encoders.conftest import Make
from tests.oracles import networks

SMALL = {"dim": 8, "depth": 2, "heads": 2, "patch": 4}


@pytest.mark.parametrize(
    ("pool", "positions", "extra"), [("cls", "learned", 8 + 32), ("mean", "learned", 32), ("mean", "sincos", 0)]
)
def test_parameters_are_counted_by_the_closed_form(backbone: Make, pool: str, positions: str, extra: int) -> None:
    net = backbone("vit", (3, 8, 8), **SMALL, pool=pool, positions=positions)
    block = 12 * 8 * 8 + 13 * 8  # four dim x dim for attention, eight for the MLP; biases and two layer norms
    assert sum(p.numel() for p in net.parameters()) == 3 * 16 * 8 + 8 + 2 * block + 2 * 8 + extra


def test_vit_small_16_has_the_published_number_of_parameters(backbone: Make) -> None:
    net = backbone("vit", (3, 224, 224), patch=16, dim=384, depth=12, heads=6)
    assert (
        sum(p.numel() for p in net.parameters()) == 21_665_664 - 384
    )  # DeiT-S without classifier: its class token has a position


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_it_agrees_with_a_slow_reference(backbone: Make, pool: str) -> None:
    net = backbone("vit", (2, 8, 12), **SMALL, pool=pool)
    torch.nn.init.normal_(net.positions)
    x = torch.randn(2, 2, 8, 12, generator=torch.Generator().manual_seed(1))
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    expected = [networks.vit(item, weights, patch=4, heads=2, depth=2) for item in x.double().numpy()]
    first = 1 if pool == "cls" else 0
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    for level, got in enumerate(layers):
        np.testing.assert_allclose(got.numpy(), np.stack([e[level][first:] for e in expected]), rtol=1e-4, atol=1e-5)
    embedding = [e[-1][0] if pool == "cls" else e[-1].mean(0) for e in expected]
    np.testing.assert_allclose(h.numpy(), np.stack(embedding), rtol=1e-4, atol=1e-5)


def test_without_positions_the_mean_does_not_see_the_order_of_patches(backbone: Make) -> None:
    net = backbone("vit", (1, 8, 8), **SMALL, pool="mean")
    torch.nn.init.zeros_(net.positions)
    x = torch.randn(2, 1, 8, 8)
    swapped = x.roll(4, dims=3)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), net(swapped))
        torch.nn.init.normal_(net.positions)
        assert (net(x) - net(swapped)).abs().max() > 1e-3


def test_crops_of_another_size_take_interpolated_positions(backbone: Make) -> None:
    net = backbone("vit", (3, 16, 16), **SMALL)
    torch.nn.init.normal_(net.positions)
    x = torch.randn(2, 3, 8, 12)
    grid = net.positions.view(1, 4, 4, 8).permute(0, 3, 1, 2)
    wanted = F.interpolate(grid, (2, 3), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 6, 8)
    with torch.inference_mode():
        added = net.embed(x).h - net.project(x).flatten(2).transpose(1, 2)
        torch.testing.assert_close(added, wanted.expand(2, -1, -1), rtol=1e-5, atol=1e-5)
        assert net(x).shape == (2, 8)
        assert [h.shape for h in net.hidden(x)] == [(2, 6, 8)] * 2


def test_sines_and_cosines_give_each_axis_half_of_the_features() -> None:
    got = sincos_positions(3, 5, 8).view(3, 5, 8)
    for y in range(3):
        for x in range(5):
            halves = [[np.sin(p), np.sin(p / 100), np.cos(p), np.cos(p / 100)] for p in (y, x)]
            np.testing.assert_allclose(got[y, x].numpy(), np.concatenate(halves), atol=1e-6)


def test_fixed_positions_are_not_saved(backbone: Make) -> None:
    assert "positions" not in backbone("vit", (1, 8, 8), **SMALL, positions="sincos").state_dict()


def test_some_of_the_tokens_can_be_encoded_alone(backbone: Make) -> None:
    net = backbone("vit", (1, 8, 8), **SMALL)
    x = torch.randn(2, 1, 8, 8)
    with torch.inference_mode():
        assert net.encode(net.embed(x).at(torch.tensor([[0, 3], [3, 0]])))[-1].shape == (2, 2, 8)
        torch.testing.assert_close(net.layers(net.embed(x))[-1][:, 0], net(x))


def test_patches_may_be_rectangles(backbone: Make) -> None:
    net = backbone("vit", (1, 8, 6), dim=8, depth=1, heads=2, patch=[8, 2])
    assert net.hidden(torch.randn(2, 1, 8, 6))[0].shape == (2, 3, 8)


def test_a_picture_that_patches_do_not_tile_is_refused(backbone: Make) -> None:
    with pytest.raises(ContractError, match="do not tile"):
        backbone("vit", (1, 10, 8), **SMALL)
    with pytest.raises(ContractError, match="do not tile"):
        backbone("vit", (1, 8, 8), **SMALL)(torch.randn(1, 1, 6, 8))


def test_a_dimension_that_heads_do_not_divide_is_refused(backbone: Make) -> None:
    with pytest.raises(UserError, match="multiple of heads"):
        backbone("vit", (1, 8, 8), dim=10, heads=4)
