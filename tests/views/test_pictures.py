"""Batched picture operations against one-pixel-at-a-time references."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.views.core import pictures
from tests.oracles import pictures as slow

COLOUR = ["brightness", "contrast", "saturation", "hue"]


def batch(channels: int = 3, height: int = 7, width: int = 6, n: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((n, channels, height, width), np.float32))


def compare(fast: Tensor, reference: list[np.ndarray], tolerance: float = 2e-6) -> None:
    np.testing.assert_allclose(fast.numpy(), np.stack(reference), atol=tolerance)


@pytest.mark.parametrize("name", COLOUR)
@pytest.mark.parametrize("channels", [1, 3])
def test_colour_operations_match_the_pixel_loop(name: str, channels: int) -> None:
    x, strength = batch(channels), torch.tensor([0.0, 0.3, 1.0, 1.7])
    fast: Callable[[Tensor, Tensor], Tensor] = getattr(pictures, name)
    if channels == 1 and name in ("saturation", "hue"):
        assert torch.equal(fast(x, strength), x)
        return
    expected = [getattr(slow, name)(p, float(s)) for p, s in zip(x.double().numpy(), strength)]
    compare(fast(x, strength), expected)


def test_hue_turns_primaries_into_each_other_and_keeps_greys() -> None:
    red, grey = torch.zeros(1, 3, 1, 1), torch.full((1, 3, 1, 1), 0.4)
    red[:, 0] = 1
    turned = pictures.hue(torch.cat([red, red, grey]), torch.tensor([1 / 3, -1 / 3, 0.2]))
    torch.testing.assert_close(turned[0].flatten(), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned[1].flatten(), torch.tensor([0.0, 0, 1]), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned[2], grey[0])


def test_hue_matches_the_reference_on_ties_black_and_white() -> None:
    values = [0.0, 0.5, 1.0]
    cube = torch.tensor([[a, b, c] for a in values for b in values for c in values]).T.reshape(1, 3, 27, 1)
    compare(pictures.hue(cube, torch.tensor([0.27])), [slow.hue(cube[0].double().numpy(), 0.27)])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_crop_matches_the_pixel_loop(channels: int) -> None:
    x = batch(channels)
    top, left = torch.tensor([0.0, 0.1, 0.5, 0.33]), torch.tensor([0.0, 0.4, 0.25, 0.6])
    height, width = torch.tensor([1.0, 0.3, 0.5, 0.67]), torch.tensor([1.0, 0.6, 0.75, 0.2])
    flipped = torch.tensor([False, True, False, True])
    windows = zip(top.tolist(), left.tolist(), height.tolist(), width.tolist(), flipped.tolist())
    expected = [slow.crop(p, *w) for p, w in zip(x.double().numpy(), windows)]
    compare(pictures.crop(x, top, left, height, width, flipped, (7, 6)), expected, 1e-5)


def test_a_flip_of_the_whole_picture_mirrors_it() -> None:
    x, zero, one = batch(), torch.zeros(4), torch.ones(4)
    flipped = pictures.crop(x, zero, zero, one, one, torch.tensor([True] * 4), (7, 6))
    torch.testing.assert_close(flipped, x.flip(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_blur_matches_direct_convolution(channels: int) -> None:
    x, sigma = batch(channels), torch.tensor([0.3, 0.8, 1.5, 3.0])
    expected = [slow.blur(p, float(s), 2) for p, s in zip(x.double().numpy(), sigma)]
    compare(pictures.blur(x, sigma, 2), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_strength_zero_leaves_pictures_as_they_are(channels: int) -> None:
    x, zero, one = batch(channels), torch.zeros(4), torch.ones(4)
    same = pictures.crop(x, zero, zero, one, one, torch.zeros(4, dtype=torch.bool), (7, 6))
    for name in ("brightness", "contrast", "saturation"):
        same = getattr(pictures, name)(same, one)
    same = pictures.blur(pictures.hue(same, zero), zero, 2)
    torch.testing.assert_close(same, x, atol=2e-6, rtol=0)
