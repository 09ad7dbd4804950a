"""The four quarter turns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.encoders.core.inputs import tensor
from stages.encoders.frontends.image import Image
from stages.views.core.base import Key
from stages.views.rotation import Rotation


def frontend(height: int = 8, width: int = 8) -> Image:
    return Image(Column("image", "media", "pixels", shape=[height, width, 1]), Path())


def pictures(n: int = 40) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (n, 8, 8, 1), np.uint8))


def test_view_k_is_the_picture_turned_k_quarters_counter_clockwise() -> None:
    data = pictures(5)
    views = Rotation(frontend())(data, None, Key(0, 0, torch.arange(5)))
    assert len(views) == 4
    for turns, view in enumerate(views):
        expected = np.rot90(data[..., 0].numpy() / np.float32(255), turns, (1, 2))
        assert np.array_equal(tensor(view)[:, 0].numpy(), expected)


def test_all_four_are_of_one_moved_picture_that_hangs_on_the_sample_alone() -> None:
    data, rotation, some = pictures(), Rotation(frontend(), translate=0.25), torch.tensor([30, 4])
    views = [tensor(v) for v in rotation(data, None, Key(3, 1, torch.arange(40)))]
    for turns, view in enumerate(views):
        assert torch.equal(view, views[0].rot90(turns, (2, 3)))
    padded = torch.nn.functional.pad(frontend()(data), (2, 2, 2, 2), mode="replicate")
    shifts = torch.stack([padded[:, :, i : i + 8, j : j + 8] for i in range(5) for j in range(5)])
    error, which = (shifts - views[0]).abs().amax((2, 3, 4)).min(0)
    assert error.max() < 1e-5 and len(which.unique()) > 10
    assert torch.equal(tensor(rotation(data[some], None, Key(3, 1, some))[1]), views[1][some])


def test_pictures_that_are_not_square_and_moves_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match="square"):
        Rotation(frontend(8, 6))
    with pytest.raises(UserError, match="translate"):
        Rotation(frontend(), translate=1.5)
