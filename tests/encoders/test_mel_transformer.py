from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common.errors import ContractError, UserError
from stages.encoders.core.encoder import TokenBackbone
from stages.encoders.core.inputs import Padded, Tokens
from tests.encoders.conftest import Make
from tests.oracles import masked_units as slow

SMALL = {"dim": 16, "depth": 2, "heads": 2}
SHAPE = (1, 8, 21)


def padded(lengths: list[int], frames: int = 21) -> Padded:
    x = torch.randn(len(lengths), 1, 8, frames, generator=torch.Generator().manual_seed(1))
    own = torch.tensor(lengths)
    return Padded(x * (torch.arange(frames) < own[:, None])[:, None, None], own)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_it_agrees_with_a_slow_reference_on_each_items_own_frames(backbone: Make, stride: int) -> None:
    net, x = backbone("mel_transformer", SHAPE, **SMALL, stride=stride), padded([21, 9, 12])
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    assert len(layers) == 2 and layers[0].shape == (3, -(-21 // stride), 16)
    for item, length in enumerate(x.lengths.tolist()):
        expected = slow.mel_transformer(x.x[item, 0, :, :length].double().numpy(), weights, stride, heads=2, depth=2)
        own = len(expected[0])
        for got, wanted in zip(layers, expected, strict=True):
            np.testing.assert_allclose(got[item, :own].numpy(), wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(h[item].numpy(), expected[-1].mean(0), rtol=1e-4, atol=1e-5)


def test_parameters_are_counted_by_the_closed_form(backbone: Make) -> None:
    block = 12 * 16 * 16 + 13 * 16
    front = 8 * 3 * 16 + 16 + 2 * 16 + 16 * 16 + 16
    assert sum(p.numel() for p in backbone("mel_transformer", SHAPE, **SMALL).parameters()) == front + 2 * block + 2 * 16


def test_padding_is_not_heard(backbone: Make) -> None:
    net, x = backbone("mel_transformer", SHAPE, **SMALL), padded([9, 9])
    short = Padded(x.x[..., :11], x.lengths)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), net(short))


def test_an_exchanged_token_keeps_its_place_and_a_dropped_one_leaves_the_others_theirs(backbone: Make) -> None:
    net = backbone("mel_transformer", SHAPE, **SMALL)
    assert isinstance(net, TokenBackbone)
    with torch.inference_mode():
        same = Tokens(torch.ones(1, 11, 16))
        exchanged = net.encode(same)[-1]
        assert (exchanged[0, 0] - exchanged[0, 5]).abs().max() > 1e-3
        index = torch.tensor([[2, 7, 9]])
        whole, some = net.encode(same)[0], net.encode(same.at(index))[0]
        assert some.shape == (1, 3, 16) and not torch.allclose(some, whole[:, :3], atol=1e-3)


def test_frames_are_the_input_turned(backbone: Make) -> None:
    net, x = backbone("frames", SHAPE), padded([9, 21])
    assert net.width == 8 and not list(net.parameters())
    torch.testing.assert_close(net.hidden(x)[0][0, 3], x.x[0, 0, :, 3])
    torch.testing.assert_close(net(x)[0], x.x[0, 0, :, :9].mean(1))
    torch.testing.assert_close(net(x.x)[0], x.x[0, 0].mean(1))
    series = torch.arange(8.0).view(1, 2, 4)
    assert backbone("frames", (2, 4)).hidden(series)[0].tolist() == [[[0, 4], [1, 5], [2, 6], [3, 7]]]


def test_mistakes_are_named(backbone: Make) -> None:
    with pytest.raises(ContractError, match="takes"):
        backbone("mel_transformer", (8, 21))
    with pytest.raises(ContractError, match="takes"):
        backbone("frames", (8,))
    for wrong in ({"dim": 15, "heads": 2}, {"kernel": 2}, {"stride": 5}, {"stride": 0}):
        with pytest.raises(UserError, match=r"dim|kernel"):
            backbone("mel_transformer", SHAPE, **{**SMALL, **wrong})
