from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.encoders.core.inputs import Padded
from tests.encoders.conftest import Make
from tests.oracles import networks

SMALL = {"dim": 8, "depth": 2, "heads": 2, "patch": 4}


@pytest.mark.parametrize(
    ("pool", "positions", "extra"), [("cls", "learned", 8 + 5 * 8), ("mean", "learned", 5 * 8), ("mean", "sinusoids", 0)]
)
def test_parameters_are_counted_by_the_closed_form(backbone: Make, pool: str, positions: str, extra: int) -> None:
    net = backbone("series_transformer", (3, 20), **SMALL, pool=pool, positions=positions)
    block = 12 * 8 * 8 + 13 * 8  # four dim x dim for attention, eight for the MLP; biases and two layer norms
    assert sum(p.numel() for p in net.parameters()) == 3 * 4 * 8 + 8 + 2 * block + 2 * 8 + extra


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_it_agrees_with_a_slow_reference(backbone: Make, pool: str) -> None:
    """A series is a picture of one row: the reference of the vision transformer, its kernels one row high."""
    net = backbone("series_transformer", (2, 20), **SMALL, pool=pool)
    torch.nn.init.normal_(net.positions)
    x = torch.randn(2, 2, 20, generator=torch.Generator().manual_seed(1))
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    weights["project.weight"] = weights["project.weight"][:, :, None]
    expected = [networks.vit(item[:, None], weights, patch=4, heads=2, depth=2) for item in x.double().numpy()]
    first = 1 if pool == "cls" else 0
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    for at, got in enumerate(layers):
        np.testing.assert_allclose(got.numpy(), np.stack([e[at][first:] for e in expected]), rtol=1e-4, atol=1e-5)
    embedding = [e[-1][0] if pool == "cls" else e[-1].mean(0) for e in expected]
    np.testing.assert_allclose(h.numpy(), np.stack(embedding), rtol=1e-4, atol=1e-5)


def test_series_of_another_length_take_interpolated_positions(backbone: Make) -> None:
    net = backbone("series_transformer", (3, 20), **SMALL)
    torch.nn.init.normal_(net.positions)
    x = torch.randn(2, 3, 12)
    wanted = F.interpolate(net.positions.transpose(1, 2), 3, mode="linear").transpose(1, 2)
    by_hand = [net.positions[0, 0] / 3 * 2 + net.positions[0, 1] / 3, net.positions[0, 2]]  # centres 1/3 and 2
    with torch.inference_mode():
        added = net.embed(x).h - net.project(x).transpose(1, 2)
        torch.testing.assert_close(added, wanted.expand(2, -1, -1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(added[0, :2], torch.stack(by_hand), rtol=1e-5, atol=1e-5)
        assert net(x).shape == (2, 8)


def test_fixed_positions_are_sines_and_cosines_that_go_on(backbone: Make) -> None:
    net = backbone("series_transformer", (1, 8), **SMALL, positions="sinusoids")
    assert "positions" not in net.state_dict()
    with torch.inference_mode():
        x = torch.randn(1, 1, 20)
        added = (net.embed(x).h - net.project(x).transpose(1, 2))[0]
    for place in range(5):
        angles = place * 10000.0 ** (-np.arange(4) / 4)
        np.testing.assert_allclose(added[place].numpy(), [*np.sin(angles), *np.cos(angles)], atol=1e-5)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_what_follows_an_items_own_steps_does_not_matter(backbone: Make, pool: str) -> None:
    net = backbone("series_transformer", (2, 20), **SMALL, pool=pool, positions="sinusoids")
    x = torch.randn(2, 2, 20)
    lengths = torch.tensor([20, 8])
    with torch.inference_mode():
        whole = net(Padded(x, lengths))
        torch.testing.assert_close(whole[:1], net(x[:1]))
        torch.testing.assert_close(whole[1:], net(x[1:, :, :8]), rtol=1e-4, atol=1e-5)
        assert (whole[1:] - net(x[1:])).abs().max() > 1e-3


def test_some_of_the_tokens_can_be_encoded_alone(backbone: Make) -> None:
    net = backbone("series_transformer", (1, 16), **SMALL)
    x = torch.randn(2, 1, 16)
    with torch.inference_mode():
        assert net.encode(net.embed(x).at(torch.tensor([[0, 3], [3, 0]])))[-1].shape == (2, 2, 8)


def test_what_it_cannot_take_is_refused(backbone: Make) -> None:
    with pytest.raises(ContractError, match="do not tile series of 18"):
        backbone("series_transformer", (1, 18), **SMALL)
    with pytest.raises(ContractError, match="do not tile series of 6"):
        backbone("series_transformer", (1, 8), **SMALL)(torch.randn(1, 1, 6))
    with pytest.raises(ContractError, match=r"takes \(C, T\)"):
        backbone("series_transformer", (3, 8, 8), **SMALL)
    with pytest.raises(UserError, match="multiple of heads"):
        backbone("series_transformer", (1, 8), dim=10, heads=4)
