"""The views of SimCLR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import check, make
from stages.common.schema import Part
from stages.encoders.frontends.image import Image
from stages.views.core import random
from stages.views.core.base import Key
from stages.views.crop_colour import CropColour

STILL = {"area": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}


def frontend(channels: int = 3, size: int = 8) -> Image:
    return Image(Column("image", "media", "pixels", shape=[size, size, channels]), Path())


def pictures(n: int = 16, channels: int = 3, size: int = 8) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (n, size, size, channels), np.uint8))


def key(n: int = 16, epoch: int = 0) -> Key:
    return Key(0, epoch, torch.arange(n))


@pytest.mark.parametrize("channels", [1, 3])
def test_with_every_strength_at_zero_the_views_are_the_front_end(channels: int) -> None:
    front, data = frontend(channels), pictures(channels=channels)
    for view in CropColour(front, views=3, **STILL)(data, None, key()):
        torch.testing.assert_close(view, front(data), atol=2e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_looks_the_same_in_whatever_batch_it_comes(channels: int) -> None:
    views, data = CropColour(frontend(channels)), pictures(channels=channels)
    whole = views(data, None, key())
    some = torch.tensor([11, 2, 7])
    part = views(data[some], None, Key(0, 0, some))
    for a, b in zip(whole, part):
        torch.testing.assert_close(a[some], b, atol=1e-6, rtol=0)


def test_views_epochs_and_samples_differ() -> None:
    views, data = CropColour(frontend()), pictures(1).expand(16, -1, -1, -1)
    first, second = views(data, None, key())
    later = views(data, None, key(epoch=1))[0]
    for other in (second, later, first.roll(1, 0)):
        assert ((first - other).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_views_stay_between_zero_and_one() -> None:
    for view in CropColour(frontend(), jitter=2.0)(pictures(64), None, key(64)):
        assert view.dtype == torch.float32 and view.shape == (64, 3, 8, 8)
        assert view.min() >= -1e-6 and view.max() <= 1 + 1e-6


def windows(area: tuple[float, float], ratio: tuple[float, float], n: int = 500) -> tuple[Tensor, Tensor]:
    """Widths and heights of windows, read off a picture that encodes its own coordinates."""
    size = 64
    ramp = torch.linspace(0.5, size - 0.5, size) / size
    views = CropColour(frontend(size=size), **(STILL | {"area": area, "ratio": ratio}), views=1)
    x = torch.stack([ramp.expand(size, size), ramp.unsqueeze(1).expand(size, size), torch.zeros(size, size)])
    views.frontend = lambda data, lengths: x.expand(len(data), -1, -1, -1)  # type: ignore[assignment]
    (cut,) = views(torch.zeros(n), None, key(n))
    middle = slice(size // 4, 3 * size // 4)  # away from the repeated edges
    width = (cut[:, 0, 0, middle.stop] - cut[:, 0, 0, middle.start]) * 2
    height = (cut[:, 1, middle.stop, 0] - cut[:, 1, middle.start, 0]) * 2
    return width, height


def test_windows_have_the_areas_and_ratios_asked_for() -> None:
    width, height = windows((0.2, 0.6), (0.5, 2.0))
    area, ratio = width * height, width / height
    assert area.min() > 0.19 and area.max() < 0.61
    assert 0.49 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.05
    assert abs(float(area.mean()) - 0.39) < 0.03
    assert abs(float(ratio.log().mean())) < 0.1


def test_a_window_larger_than_the_picture_is_drawn_again() -> None:
    width, height = windows((0.7, 0.9), (0.6, 1.6))
    assert (width * height < 0.69).float().mean() < 0.02  # cut windows would be smaller: about half of those drawn first
    assert width.max() <= 1.001 and height.max() <= 1.001


def test_switching_one_operation_off_leaves_the_others_draws_alone() -> None:
    data = pictures()
    plain = CropColour(frontend(), **(STILL | {"area": (0.1, 0.9)}))(data, None, key())[0]
    grey = CropColour(frontend(), **(STILL | {"area": (0.1, 0.9), "grey": 1.0}))(data, None, key())[0]
    weight = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    torch.testing.assert_close((plain * weight).sum(1), grey[:, 0], atol=1e-5, rtol=0)


def test_the_side_of_the_picture_is_the_default_side() -> None:
    data = pictures()
    for plain, said in zip(CropColour(frontend())(data, None, key()), CropColour(frontend(), side=8)(data, None, key())):
        assert torch.equal(plain, said)


def test_at_half_the_side_a_whole_picture_becomes_means_of_two_by_two() -> None:
    data, front = pictures(), frontend()
    for view in CropColour(front, **STILL, side=4)(data, None, key()):
        torch.testing.assert_close(view, avg_pool2d(front(data), 2), atol=2e-6, rtol=0)


def test_the_side_leaves_the_windows_alone() -> None:
    """On a picture that encodes its coordinates, a view of half the side holds the means of the whole view's neighbours."""
    size, n = 32, 200
    ramp = torch.linspace(0.5, size - 0.5, size) / size
    x = torch.stack([ramp.expand(size, size), ramp.unsqueeze(1).expand(size, size), torch.zeros(size, size)])
    cuts = []
    for side in (None, size // 2):
        views = CropColour(frontend(size=size), **(STILL | {"area": (0.2, 0.8), "flip": 0.5}), views=1, side=side)
        views.frontend = lambda data, lengths: x.expand(len(data), -1, -1, -1)  # type: ignore[assignment]
        cuts.append(views(torch.zeros(n), None, key(n))[0])
    whole, half = cuts
    assert half.shape == (n, 3, size // 2, size // 2)
    inner = slice(2, -2)  # the edges are repeated, there the ramp is no ramp
    torch.testing.assert_close(half[:, :, inner, inner], avg_pool2d(whole, 2)[:, :, inner, inner], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "share"), [("flip", 0.25), ("grey", 0.4), ("jitter_p", 0.7)])
def test_probabilities_are_kept(name: str, share: float) -> None:
    strength = {"flip": {"flip": share}, "grey": {"grey": share}, "jitter_p": {"jitter": 1.0, "jitter_p": share}}[name]
    data, front = pictures(1).expand(2000, -1, -1, -1), frontend()
    (view,) = CropColour(front, **(STILL | strength), views=1)(data, None, key(2000))
    changed = (view - front(data)).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert abs(float(changed.float().mean()) - share) < 0.04


def test_torchs_own_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    CropColour(frontend())(pictures(), None, key())
    assert torch.equal(before, torch.get_rng_state())


def test_the_draws_of_one_operation_do_not_steer_another() -> None:
    draws = random.uniform(random.of_views(key(4000), 1), 31)
    correlation = torch.corrcoef(draws.T) - torch.eye(31)
    assert correlation.abs().max() < 0.08


@pytest.mark.parametrize(
    "wrong", [{"flip": 1.5}, {"area": [0.0, 1.0]}, {"ratio": [2.0, 1.0]}, {"jitter": -1.0}, {"views": 0}, {"side": 0}]
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        make("views", Part("crop_colour", wrong), frontend())


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'jitter'"):
        check("views", Part("crop_colour", {"jiter": 1.0}), "encoders.e.views")


def test_media_that_are_no_pictures_are_refused() -> None:
    front = frontend()
    front.shape = (64,)
    with pytest.raises(UserError, match="takes pictures"):
        CropColour(front)
