"""Global and local views of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.registry import make
from stages.common.schema import Part
from stages.encoders.core.inputs import tensor
from stages.encoders.frontends.image import Image
from stages.views.core.base import Key
from stages.views.crop_colour import CropColour
from stages.views.multicrop import MultiCrop
from tests.oracles import multicrop as slow

PLAIN = {"jitter": 0.0, "grey": 0.0, "blur": 0.0}  # windows and mirrors alone
WHOLE = {"global_area": (1.0, 1.0), "local_area": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}


def frontend(channels: int = 3, height: int = 8, width: int = 8) -> Image:
    return Image(Column("image", "media", "pixels", shape=[height, width, channels]), Path())


def pictures(n: int = 16, channels: int = 3, height: int = 8, width: int = 8) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (n, height, width, channels), np.uint8))


def key(n: int = 16, epoch: int = 0, seed: int = 0) -> Key:
    return Key(seed, epoch, torch.arange(n))


@pytest.mark.parametrize(("height", "width", "side", "small"), [(8, 8, 4, (4, 4)), (9, 12, 5, (5, 7))])
def test_windows_and_mirrors_match_the_pixel_loop(height: int, width: int, side: int, small: tuple[int, int]) -> None:
    front, data = frontend(3, height, width), pictures(3, 3, height, width)
    views = MultiCrop(front, globals=2, locals=3, side=side, **PLAIN)(data, None, key(3, epoch=4, seed=7))
    x, ratio = front(data).double().numpy(), (3 / 4, 4 / 3)
    assert [tuple(tensor(v).shape) for v in views] == [(3, 3, height, width)] * 2 + [(3, 3, *small)] * 3
    for v, view in enumerate(views):
        area, shape = ((0.3, 1.0), (height, width)) if v < 2 else ((0.05, 0.3), small)
        for sample in range(3):
            draws = slow.numbers(7, 4, sample, v, 23)
            box = slow.window(draws, area, ratio, width / height)
            expected = slow.resampled(x[sample], box, slow.mirrored(draws, 0.5), shape)
            np.testing.assert_allclose(tensor(view)[sample], expected, atol=2e-5)


def test_a_global_view_is_the_view_of_the_same_number_that_crop_colour_makes() -> None:
    data = pictures()
    many = MultiCrop(frontend(), side=4, jitter=0.7, global_area=(0.2, 0.9))(data, None, key())
    two = CropColour(frontend(), jitter=0.7, area=(0.2, 0.9))(data, None, key())
    for one, other in zip(many, two):
        assert torch.equal(tensor(one), tensor(other))


@pytest.mark.parametrize("channels", [1, 3])
def test_at_half_the_side_a_whole_picture_becomes_means_of_two_by_two(channels: int) -> None:
    front, data = frontend(channels), pictures(channels=channels)
    first, second, *small = MultiCrop(front, side=4, **(PLAIN | WHOLE))(data, None, key())
    for view in (first, second):
        torch.testing.assert_close(view, front(data), atol=2e-6, rtol=0)
    for view in small:
        torch.testing.assert_close(view, avg_pool2d(front(data), 2), atol=2e-6, rtol=0)


def test_local_windows_have_the_areas_asked_for() -> None:
    size, n = 64, 400
    ramp = torch.linspace(0.5, size - 0.5, size) / size
    x = torch.stack([ramp.expand(size, size), ramp.unsqueeze(1).expand(size, size), torch.zeros(size, size)])
    views = MultiCrop(frontend(3, size, size), globals=1, locals=1, side=32, **(PLAIN | {"flip": 0.0}))
    views.frontend = lambda data, lengths: x.expand(len(data), -1, -1, -1)  # type: ignore[assignment]
    for view, low, high in zip(views(torch.zeros(n), None, key(n)), (0.3, 0.05), (1.0, 0.3)):
        cut = tensor(view)
        half, quarter = cut.shape[2] // 2, cut.shape[2] // 4  # away from the repeated edges
        width = (cut[:, 0, 0, quarter + half] - cut[:, 0, 0, quarter]) * 2
        height = (cut[:, 1, quarter + half, 0] - cut[:, 1, quarter, 0]) * 2
        area = width * height
        assert low - 0.02 < area.min() < low + 0.05 and high - 0.1 < area.max() < high + 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_looks_the_same_in_whatever_batch_it_comes(channels: int) -> None:
    views, data = MultiCrop(frontend(channels), side=5), pictures(channels=channels)
    some = torch.tensor([11, 2, 7])
    for whole, part in zip(views(data, None, key()), views(data[some], None, Key(0, 0, some))):
        torch.testing.assert_close(tensor(whole)[some], tensor(part), atol=1e-6, rtol=0)


def test_all_views_of_a_sample_differ_and_stay_between_zero_and_one() -> None:
    views = MultiCrop(frontend(), locals=3, side=8, jitter=2.0)(pictures(), None, key())
    for i, one in enumerate(views):
        assert tensor(one).min() >= -1e-6 and tensor(one).max() <= 1 + 1e-6
        for other in views[i + 1 :]:
            assert ((tensor(one) - tensor(other)).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


def test_a_small_view_is_blurred_by_as_many_pixels_as_a_large_one() -> None:
    """An edge: how steep it is left depends on sigma in pixels, and a local view of 24 pixels is cut from 24 of 48."""
    front = frontend(1, 48, 48)
    picture = torch.zeros(1, 48, 48, 1, dtype=torch.uint8)
    picture[:, 24:] = 255
    settings = {"global_area": (1.0, 1.0), "local_area": (0.25, 0.25), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0}
    views = MultiCrop(front, globals=1, locals=40, side=24, blur=1.0, sigma=(14.0, 14.0), **settings)  # 3 pixels of 48
    large, *small = views(picture, None, key(1))
    steepest = float(tensor(large).diff(dim=2).max())
    inner = [float(tensor(v).diff(dim=2).max()) for v in small if 0.3 < float(tensor(v).mean()) < 0.7]
    assert len(inner) > 3  # whose edge lies far from the border
    assert inner == pytest.approx([steepest] * len(inner), rel=0.05)


def test_no_local_views_leaves_the_global_ones() -> None:
    assert len(MultiCrop(frontend(), globals=3, locals=0, side=4)(pictures(), None, key())) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"globals": 0},
        {"locals": -1},
        {"side": 0},
        {"side": 9},
        {"flip": 1.5},
        {"local_area": [0.3, 0.05]},
        {"global_area": [0.0, 1.0]},
        {"jitter": -1.0},
        {},  # the paper's side, 98, of pictures of 8 pixels
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        make("views", Part("multicrop", wrong if "side" in wrong or not wrong else {"side": 4, **wrong}), frontend())


def test_media_that_are_no_pictures_are_refused() -> None:
    front = frontend()
    front.shape = (64,)
    with pytest.raises(UserError, match="takes pictures"):
        MultiCrop(front, side=4)
