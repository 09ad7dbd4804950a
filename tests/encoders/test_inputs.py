"""Sequences of unequal length and tokens: what is an item's own, means, joins, and how an encoder standardises them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common.column import Column
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.inputs import Padded, Tokens, join, own, pooled, tensor
from stages.encoders.core.transformer import Block, seen, sinusoids
from stages.encoders.core.wave import level

WAVE = Column("wave", "media", "waveform", rate=8000)


def test_a_stretch_that_an_item_reaches_in_part_is_its_own_and_one_always_is() -> None:
    found = own(torch.tensor([0, 1, 4, 5, 8]), samples=8, positions=4)  # stretches of two samples
    assert found.int().sum(1).tolist() == [1, 1, 2, 3, 4]
    assert all(row.tolist() == sorted(row.tolist(), reverse=True) for row in found)


def test_the_mean_leaves_padding_out() -> None:
    h = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert pooled(h, mask).tolist() == [[1.0, 2.0], [8.0, 9.0]]
    assert torch.equal(pooled(h, None), h.mean(1))
    assert torch.equal(Tokens(h, mask).mean(), pooled(h, mask))


def test_tokens_are_taken_with_their_padding_and_their_places() -> None:
    h = torch.arange(12.0).view(2, 3, 2)
    tokens = Tokens(h, torch.tensor([[True, True, False], [True, False, False]]))
    some = tokens.at(torch.tensor([[2, 0], [1, 1]]))
    assert some.h.tolist() == [[[4.0, 5.0], [0.0, 1.0]], [[8.0, 9.0], [8.0, 9.0]]]
    assert some.own is not None and some.own.tolist() == [[False, True], [False, False]]
    again = some.at(torch.tensor([[1], [0]]))
    assert again.position is not None and again.position.tolist() == [[0], [1]]


def test_batches_are_joined_with_their_lengths() -> None:
    one, two = Padded(torch.ones(2, 1, 4), torch.tensor([1, 4])), Padded(torch.zeros(1, 1, 4), torch.tensor([2]))
    joined = join([one, two])
    assert isinstance(joined, Padded) and joined.lengths.tolist() == [1, 4, 2]
    assert torch.equal(tensor(joined), torch.cat([one.x, two.x]))
    assert torch.equal(tensor(join([torch.ones(1, 2), torch.zeros(1, 2)])), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))


def test_an_encoder_standardises_an_items_own_part_and_leaves_padding_at_zero() -> None:
    net = encoders.new(Part("waveform", {"samples": 6}), Part("raw_input"), WAVE, Path())
    net.mean.fill_(0.5)
    net.std.fill_(2.0)
    x = net.frontend(torch.full((2, 6), 0.9), torch.tensor([2, 6]))
    assert isinstance(x, Padded)
    standard = net.standardise(x)
    assert tensor(standard)[:, 0].tolist() == pytest.approx(np.array([[0.2, 0.2, 0, 0, 0, 0], [0.2] * 6]))
    assert net(x).shape == (2, 6)  # this backbone does not heed lengths: it is handed the values


def test_level_gives_each_clip_mean_nought_and_variance_one_over_its_own_samples() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((3, 50), np.float32)
    x[0, :20], x[1] = 3 + 0.01 * rng.normal(size=20), 500 * rng.normal(size=50)
    found = level(torch.from_numpy(x), torch.tensor([20, 50, 10])).numpy()
    for row, n in ((0, 20), (1, 50)):
        wanted = (x[row, :n] - x[row, :n].mean()) / np.sqrt(x[row, :n].var() + 1e-7)
        np.testing.assert_allclose(found[row, :n], wanted, atol=1e-4)
        assert not found[row, n:].any()
    assert not found[2].any()  # silence stays silence
    np.testing.assert_allclose(level(torch.from_numpy(x[1:2]), None).numpy(), found[1:2], atol=1e-6)


@pytest.mark.parametrize("name", ["waveform", "log_mel"])
def test_with_normalise_a_recordings_level_does_not_matter(name: str) -> None:
    front = encoders.new(Part(name, {"normalise": True, "samples": 4000}), Part("raw_input"), WAVE, Path()).frontend
    generator = torch.Generator().manual_seed(0)
    x, lengths = torch.rand(2, 4000, generator=generator) - 0.5, torch.tensor([4000, 4000])
    torch.testing.assert_close(tensor(front(x, lengths)), tensor(front(0.1 * x, lengths)), rtol=1e-3, atol=1e-3)


def test_log_mel_says_how_many_frames_are_a_clips_own_where_it_is_asked() -> None:
    front = encoders.new(Part("log_mel", {"padded": True, "samples": 800, "hop": 80}), Part("raw_input"), WAVE, Path()).frontend
    x = front(torch.zeros(2, 800), torch.tensor([160, 800]))
    assert isinstance(x, Padded) and x.lengths.tolist() == [3, 11] and x.x.shape[-1] == 11


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_what_is_padding_does_not_reach_what_is_not(norm: str) -> None:
    torch.manual_seed(0)
    block = Block(8, 2, 16, norm=norm)  # type: ignore[arg-type]
    x, mask = torch.randn(1, 5, 8), torch.tensor([[True, True, True, False, False]])
    other = x.clone()
    other[:, 3:] = 100 * torch.randn(1, 2, 8)
    torch.testing.assert_close(block(x, seen(mask))[:, :3], block(other, seen(mask))[:, :3])
    torch.testing.assert_close(block(x[:, :3]), block(x, seen(mask))[:, :3])
    assert seen(None) is None


def test_a_causal_block_sees_nothing_that_follows() -> None:
    torch.manual_seed(0)
    block, x = Block(8, 2, 16), torch.randn(1, 5, 8)
    torch.testing.assert_close(block(x, causal=True)[:, :2], block(x[:, :2], causal=True))


def test_sinusoids_are_those_of_the_formula() -> None:
    found = sinusoids(torch.tensor([0, 3]), 4)
    assert found[0].tolist() == [0, 0, 1, 1]
    assert found[1].tolist() == pytest.approx([np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)])
