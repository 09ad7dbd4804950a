"""The wav2vec 2.0 backbone against transformers' own with the same weights, and what padding may not change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from stages.common.errors import ContractError, UserError
from stages.encoders.backbones.wav2vec2 import ChannelNorm, Wav2Vec2, frames
from stages.encoders.core.inputs import Padded, Tokens
from tests.encoders.conftest import Make
from tests.oracles import wav2vec2 as slow
from tests.peers.wav2vec2 import SMALL, config, copied

SHAPE = (1, 800)


def test_it_agrees_with_transformers(backbone: Make) -> None:
    from transformers import Wav2Vec2Model

    net = backbone("wav2vec2", SHAPE, **SMALL)
    nn.init.normal_(net.positions.bias)
    peer = Wav2Vec2Model(config()).eval()
    copied(net, peer)
    x = torch.randn(3, *SHAPE)
    with torch.no_grad():
        found = peer(x[:, 0], output_hidden_states=True)
        torch.testing.assert_close(net.hidden(x)[-1], found.last_hidden_state, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.feature_norm(net.latents(x).h), found.extract_features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(x), found.last_hidden_state.mean(1), rtol=1e-4, atol=1e-5)


def test_base_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        net = Wav2Vec2(SimpleNamespace(shape=(1, 250_000)))  # type: ignore[arg-type]
    assert sum(p.numel() for p in net.parameters()) == 94_371_712  # of facebook/wav2vec2-base


def test_an_item_is_embedded_alike_whatever_pads_it(backbone: Make) -> None:
    net = backbone("wav2vec2", SHAPE, **SMALL)
    x = torch.randn(2, *SHAPE)
    x[0, :, 500:] = 0
    lengths = torch.tensor([500, 800])
    with torch.no_grad():
        together = net.hidden(Padded(x, lengths))[-1]
        own = net.embed(Padded(x, lengths)).own
        alone = net.hidden(x[:1, :, :500])[-1]
        assert own is not None and own.sum(1).tolist() == [alone.shape[1], together.shape[1]]
        torch.testing.assert_close(together[:1, : alone.shape[1]], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(Padded(x, lengths))[:1], alone.mean(1), rtol=1e-4, atol=1e-5)
        louder = x.clone()
        louder[0, :, 600:] = 7.0  # what lies beyond is never seen
        torch.testing.assert_close(net(Padded(louder, lengths)), net(Padded(x, lengths)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 9, 10, 57, 400, 799, 800])
def test_frames_are_counted_as_windows_fit(samples: int) -> None:
    kernels, strides = SMALL["kernels"], SMALL["strides"]
    expected = slow.frames(samples, kernels, strides)
    assert max(frames(samples, kernels, strides), 0) == expected
    assert max(int(frames(torch.tensor(samples), kernels, strides)), 0) == expected


def test_channels_are_normed_over_own_frames_as_group_norm_does() -> None:
    x = torch.randn(2, 4, 9)
    norm = ChannelNorm(4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    plain = nn.functional.group_norm(x, 4, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x, torch.tensor([9, 9])), plain)
    cut = nn.functional.group_norm(x[:1, :, :5], 4, norm.weight, norm.bias)
    torch.testing.assert_close(norm(x, torch.tensor([5, 9]))[:1, :, :5], cut)


def test_hidden_frames_take_the_learned_mask(backbone: Make) -> None:
    net = backbone("wav2vec2", SHAPE, **SMALL)
    tokens = net.embed(torch.randn(1, *SHAPE))
    hidden = torch.zeros(tokens.h.shape[:2], dtype=torch.bool)
    hidden[0, 2] = True
    found = net.hide(tokens, hidden).h
    assert torch.equal(found[0, 2], net.mask) and torch.equal(found[0, 3:], tokens.h[0, 3:])


def test_blocks_are_left_out_in_training_alone(backbone: Make) -> None:
    net = backbone("wav2vec2", SHAPE, **(SMALL | {"layer_drop": 1.0}))
    x = torch.randn(1, *SHAPE)
    with torch.no_grad():
        whole = net.hidden(x)
        assert not torch.equal(whole[0], whole[1])
        without = net.train().hidden(x)
    assert torch.equal(without[0], without[1])


def test_what_it_cannot_take_is_refused(backbone: Make) -> None:
    with pytest.raises(ContractError, match="use frontend waveform"):
        backbone("wav2vec2", (3, 8, 8), **SMALL)
    with pytest.raises(UserError, match="give as many"):
        backbone("wav2vec2", SHAPE, **(SMALL | {"strides": [5]}))
    with pytest.raises(UserError, match="multiple of heads"):
        backbone("wav2vec2", SHAPE, **(SMALL | {"heads": 3}))
    with pytest.raises(UserError, match="do not fill one frame"):
        backbone("wav2vec2", (1, 20), **SMALL)


def test_frames_that_are_dropped_are_to_the_positions_as_padding_is(backbone: Make) -> None:
    net = backbone("wav2vec2", SHAPE, **SMALL)
    tokens = net.embed(torch.randn(2, *SHAPE))
    n = tokens.h.shape[1]
    with torch.no_grad():
        whole = net.encode(tokens)
        everything = torch.arange(n).flip(0).expand(2, -1)
        for layer, turned in zip(whole, net.encode(tokens.at(everything)), strict=True):
            torch.testing.assert_close(turned.flip(1), layer, rtol=1e-4, atol=1e-5)
        kept = torch.tensor([0, 2, 3, n - 2])
        alone = net.encode(tokens.at(kept.expand(2, -1)))
        own = torch.zeros(2, n, dtype=torch.bool)
        own[:, kept] = True
        padded = net.encode(Tokens(tokens.h, own))
    for layer, few in zip(padded, alone, strict=True):
        torch.testing.assert_close(few, layer[:, kept], rtol=1e-4, atol=1e-5)
