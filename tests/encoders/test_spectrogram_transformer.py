"""The transformer over spectrogram frames: its halves, the frames that make its embedding, its published size."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.inputs import Tokens
from stages.encoders.core.transformer import sinusoids
from tests.encoders.conftest import Make

SMALL = {"dim": 16, "depth": 2, "heads": 2, "dropout": 0.0}
NAME = "spectrogram_transformer"


@pytest.mark.parametrize(("centre", "first"), [(1, 5), (2, 5), (3, 4), (4, 4), (11, 0)])
def test_its_embedding_is_the_mean_of_the_middle_tokens(backbone: Make, centre: int, first: int) -> None:
    net, x = backbone(NAME, (1, 5, 11), centre=centre, **SMALL), torch.randn(3, 1, 5, 11)
    torch.testing.assert_close(net(x), net.hidden(x)[-1][:, first : first + centre].mean(1))


def test_without_a_centre_it_is_the_mean_of_all(backbone: Make) -> None:
    net, x = backbone(NAME, (1, 5, 11), centre=None, **SMALL), torch.randn(3, 1, 5, 11)
    torch.testing.assert_close(net(x), net.hidden(x)[-1].mean(1))


def test_tokens_are_a_linear_map_of_frames_then_positions_a_norm_and_post_norm_blocks(backbone: Make) -> None:
    net: Any = backbone(NAME, (1, 5, 11), **SMALL)
    x = torch.randn(3, 1, 5, 11)
    tokens = net.embed(x)
    torch.testing.assert_close(tokens.h[1, 4], net.project.weight @ x[1, 0, :, 4] + net.project.bias)
    h = net.norm(tokens.h + sinusoids(torch.arange(11), 16))
    for found, block in zip(net.encode(tokens), net.blocks, strict=True):
        h = block(h)
        torch.testing.assert_close(found, h)
    last = net.blocks[-1].norm2
    torch.testing.assert_close(((h - last.bias) / last.weight).mean(-1), torch.zeros(3, 11), atol=1e-5, rtol=0)


def test_a_token_keeps_its_place_among_fewer(backbone: Make) -> None:
    net: Any = backbone(NAME, (1, 5, 11), **SMALL)
    tokens, index = net.embed(torch.randn(1, 1, 5, 11)), torch.tensor([[7, 2]])
    turned = net.encode(tokens.at(index.flip(1)))[-1].flip(1)
    torch.testing.assert_close(net.encode(tokens.at(index))[-1], turned)
    assert not torch.allclose(net.encode(Tokens(tokens.at(index).h))[-1], turned)


def test_by_default_it_is_as_large_as_the_papers() -> None:
    with torch.device("meta"):
        net = registry.make("backbone", Part(NAME), SimpleNamespace(shape=(1, 40, 210)))
    block = 12 * 768**2 + 13 * 768  # qkv, out, the two halves of the MLP, their biases, two norms
    assert sum(p.numel() for p in net.parameters()) == 40 * 768 + 768 + 2 * 768 + 6 * block == 42_560_256


@pytest.mark.parametrize(
    ("shape", "arguments", "error", "says"),
    [
        ((5, 11), {}, ContractError, "takes"),
        ((2, 5, 11), {}, ContractError, "takes"),
        ((1, 5, 11), {"dim": 15, "heads": 2}, UserError, "multiple of heads"),
        ((1, 5, 11), {"centre": 12}, UserError, "not 1 to 11"),
        ((1, 5, 11), {"centre": 0}, UserError, "not 1 to 11"),
    ],
)
def test_what_it_refuses(backbone: Make, shape: Any, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        backbone(NAME, shape, **{**SMALL, **arguments})
