"""The views of CutPaste: what is pasted, where, how large, and that it hangs on (seed, epoch, sample) alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import make
from stages.common.schema import Part
from stages.encoders.core.inputs import tensor
from stages.encoders.frontends.image import Image
from stages.views.core.base import Key
from stages.views.cutpaste import Box, CutPaste, centres, paste, paste_turned
from tests.oracles import cutpaste as slow

ALL = ["normal", "cutpaste", "scar", "cutout"]


def frontend(channels: int = 1, side: int = 32) -> Image:
    return Image(Column("image", "media", "pixels", shape=[side, side, channels]), Path())


def pictures(n: int = 16, channels: int = 1, side: int = 32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (n, side, side, channels), np.uint8))


def key(n: int = 16, epoch: int = 0, seed: int = 0) -> Key:
    return Key(seed, epoch, torch.arange(n))


def made(views: CutPaste, n: int = 16, channels: int = 1, side: int = 32) -> list[Tensor]:
    return [tensor(v) for v in views(pictures(n, channels, side), None, key(n))]


def boxes(n: int, rng: np.random.Generator, side: int = 12) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Pieces and places of the same sides, (top, left, height, width) each."""
    pieces, targets = [], []
    for _ in range(n):
        height, width = rng.integers(1, side, 2)
        tops, lefts = rng.integers(0, side - height + 1, 2), rng.integers(0, side - width + 1, 2)
        pieces.append((int(tops[0]), int(lefts[0]), int(height), int(width)))
        targets.append((int(tops[1]), int(lefts[1]), int(height), int(width)))
    return pieces, targets


def box(rows: list[tuple[int, ...]]) -> Box:
    return Box(*torch.tensor(rows).T)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_piece_is_put_where_the_loop_over_its_pixels_puts_it(channels: int) -> None:
    rng = np.random.default_rng(0)
    x, filling = rng.random((2, 20, channels, 12, 12)).astype(np.float32)
    pieces, targets = boxes(20, rng)
    found = paste(torch.from_numpy(x), torch.from_numpy(filling), box(pieces), box(targets))
    assert np.array_equal(found.numpy(), slow.paste(x, filling, pieces, targets))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_turned_piece_is_put_where_a_rotation_matrix_puts_it(channels: int) -> None:
    rng = np.random.default_rng(0)
    x, filling = rng.random((2, 20, channels, 12, 12)).astype(np.float32)
    pieces, _ = boxes(20, rng)
    centre, angle = rng.uniform(2, 10, (20, 2)), rng.uniform(-0.8, 0.8, 20)
    found = paste_turned(*(torch.from_numpy(v) for v in (x, filling)), box(pieces), *map(torch.from_numpy, (centre, angle)))
    assert np.array_equal(found.numpy(), slow.paste_turned(x, filling, pieces, centre, angle))


def test_a_piece_turned_by_nothing_is_the_piece_and_by_a_quarter_its_turn() -> None:
    x, filling = torch.zeros(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
    piece = box([(1, 2, 4, 2)] * 2)
    centre, angle = torch.tensor([[5.0, 4.0], [5.0, 4.0]]), torch.tensor([0.0, torch.pi / 2])
    plain, turned = paste_turned(x, filling, piece, centre, angle)
    cut = filling[:, 0, 1:5, 2:4]
    assert torch.equal(plain[0, 3:7, 3:5], cut[0])
    assert torch.equal(turned[0, 4:6, 2:6], cut[1].flip(0).T)  # its top looks right: x goes to y
    assert int((plain != 0).sum()) == int((turned != 0).sum()) == 8


def test_where_a_turned_piece_fits_it_is_put_wholly_inside() -> None:
    n, side = 500, 24
    piece = box([(0, 0, 15, 6)] * n)
    angle = torch.linspace(-torch.pi / 4, torch.pi / 4, n)
    x = torch.zeros(n, 1, side, side)
    draws = torch.rand(2, n, generator=torch.Generator().manual_seed(0))
    found = paste_turned(x, torch.ones_like(x), piece, centres(draws[0], draws[1], piece, angle, x), angle)
    assert abs(float(found.sum((1, 2, 3)).mean()) - 15 * 6) < 1
    assert float(found.sum((1, 2, 3)).min()) > 0.9 * 15 * 6


@pytest.mark.parametrize("channels", [1, 3])
def test_each_kind_is_one_view_that_starts_from_the_front_ends_picture(channels: int) -> None:
    front, data = frontend(channels), pictures(64, channels)
    normal, cut, scar, out = made(CutPaste(front, kinds=ALL), 64, channels)
    assert torch.equal(normal, front(data))
    for view, most in ((cut, 0.16), (scar, 0.41), (out, 0.16)):  # of the picture; a scar has up to 16 x 25 pixels of 32 x 32
        changed = (view != normal).any(1).float().mean((1, 2))
        assert float(changed.min()) > 0.012 and float(changed.max()) < most
        assert view.min() >= 0 and view.max() <= 1


def test_a_pasted_piece_lies_somewhere_in_the_picture_it_was_cut_from() -> None:
    x = pictures(8).permute(0, 3, 1, 2).float() / 255
    (cut,) = made(CutPaste(frontend(), kinds=["cutpaste"], jitter=0.0), 8)
    for whole, changed in zip(x[:, 0], cut[:, 0]):
        rows, columns = torch.nonzero(whole != changed, as_tuple=True)
        top, left = int(rows.min()), int(columns.min())
        piece = changed[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        height, width = piece.shape
        windows = whole.unfold(0, height, 1).unfold(1, width, 1)
        assert (windows == piece).all(-1).all(-1).any()


def test_the_colours_of_a_piece_are_changed_about_its_own_mean() -> None:
    views = CutPaste(frontend(), jitter=0.1)
    x = pictures(4).permute(0, 3, 1, 2).float() / 255
    inside = box([(3, 4, 6, 9)] * 4).mask(x)
    draws = torch.zeros(4, 12)
    draws[:, 8], draws[:, 9] = torch.tensor([0.0, 1.0, 0.5, 0.9]), torch.tensor([1.0, 0.2, 0.5, 0.0])
    found = views._jittered(x, inside, draws)
    for b in range(4):
        brightness, contrast = 0.9 + 0.2 * float(draws[b, 8]), 0.9 + 0.2 * float(draws[b, 9])
        expected = slow.jittered(x[b, 0][inside[b, 0]].tolist(), brightness, contrast)
        np.testing.assert_allclose(found[b, 0][inside[b, 0]].numpy(), expected, atol=1e-6)


def test_pieces_have_the_areas_and_aspects_asked_for_half_of_them_tall() -> None:
    n, side = 4000, 200
    views = CutPaste(frontend(side=side), area=(0.05, 0.1), aspect=(0.25, 4.0))
    draws = torch.rand(n, 12, generator=torch.Generator().manual_seed(0))
    height, width = (v.double() for v in views._rectangle(draws, side, side))
    area, aspect = height * width / side**2, width / height
    assert 0.048 < area.min() < 0.052 and 0.098 < area.max() < 0.102
    assert abs(float(area.mean()) - 0.075) < 0.002
    assert 0.24 < aspect.min() < 0.28 and 3.8 < aspect.max() < 4.1
    assert abs(float((aspect < 1).double().mean()) - 0.5) < 0.03
    assert abs(float(aspect[aspect < 1].mean()) - 0.625) < 0.02 and abs(float(aspect[aspect > 1].mean()) - 2.5) < 0.05


def test_places_are_uniform_and_reach_every_edge() -> None:
    x = torch.zeros(5000, 1, 10, 12)
    u = torch.rand(2, 5000, generator=torch.Generator().manual_seed(0))
    placed = Box.placed(u[0], u[1], torch.full((5000,), 4), torch.full((5000,), 3), x)
    counts = torch.bincount(placed.top, minlength=7), torch.bincount(placed.left, minlength=10)
    assert len(counts[0]) == 7 and len(counts[1]) == 10
    assert (counts[0] - 5000 / 7).abs().max() < 120 and (counts[1] - 500).abs().max() < 110


def test_scars_are_as_wide_and_as_long_as_asked_whatever_their_turn() -> None:
    views = CutPaste(frontend(side=64), kinds=["scar"], scar_width=(4, 4), scar_length=(20, 20), jitter=0.0)
    x = torch.rand(300, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    views.frontend = lambda data, lengths: x  # type: ignore[assignment]
    (scar,) = (tensor(v) for v in views(torch.zeros(300), None, key(300)))
    changed = scar != x
    assert abs(float(changed.float().sum((1, 2, 3)).mean()) - 80) < 2
    down = [float(np.ptp(torch.nonzero(c[0])[:, 0].numpy()) + 1) for c in changed]
    right = [float(np.ptp(torch.nonzero(c[0])[:, 1].numpy()) + 1) for c in changed]
    assert min(down) > 15 and max(down) < 24  # 20 cos 45 + 4 sin 45 = 17, and 20 upright
    assert min(right) > 3.5 and 14 < max(right) < 20


def test_cutout_fills_a_rectangle_with_the_pictures_mean() -> None:
    normal, out = made(CutPaste(frontend(3), kinds=["normal", "cutout"]), 8, 3)
    for whole, changed in zip(normal, out):
        inside = (whole != changed).any(0)
        filled = changed[:, inside]
        torch.testing.assert_close(filled, whole.mean((1, 2), keepdim=True)[:, 0].expand_as(filled))


def test_leaving_a_kind_out_leaves_the_others_as_they_were() -> None:
    every = dict(zip(ALL, made(CutPaste(frontend(), kinds=ALL))))
    for kinds in (["scar", "cutpaste"], ["cutout", "normal"]):
        for kind, view in zip(kinds, made(CutPaste(frontend(), kinds=kinds))):
            assert torch.equal(view, every[kind])


def test_kinds_draw_their_rectangles_apart() -> None:
    normal, cut, out = made(CutPaste(frontend(), kinds=["normal", "cutpaste", "cutout"]), 200)
    at = [(view != normal).flatten(1).int().argmax(1).float() for view in (cut, out)]
    assert abs(float(torch.corrcoef(torch.stack(at))[0, 1])) < 0.2 and float((at[0] == at[1]).float().mean()) < 0.05


def test_a_sample_looks_the_same_in_whatever_batch_it_comes_and_else_differently() -> None:
    views, data, some = CutPaste(frontend(), kinds=ALL, translate=0.1), pictures(), torch.tensor([11, 2, 7])
    whole = [tensor(v) for v in views(data, None, key())]
    for a, b in zip(whole, views(data[some], None, Key(0, 0, some))):
        assert torch.equal(a[some], tensor(b))
    for other in (key(epoch=1), key(seed=1)):
        later = [tensor(v) for v in views(data, None, other)]
        assert all(bool((a != b).any(3).any(2).any(1).all()) for a, b in zip(whole[1:], later[1:]))


def test_all_views_are_moved_alike_by_whole_pixels() -> None:
    (normal,) = made(CutPaste(frontend(), kinds=["normal"], translate=0.125), 200)
    x = pictures(200).permute(0, 3, 1, 2).float() / 255
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4), mode="replicate")
    shifts = torch.stack([padded[:, :, i : i + 32, j : j + 32] for i in range(9) for j in range(9)])
    error, which = (shifts - normal).abs().amax((2, 3, 4)).min(0)
    assert error.max() < 1e-5 and len(which.unique()) > 60
    moved, scar = made(CutPaste(frontend(), kinds=["normal", "scar"], translate=0.125), 200)
    assert torch.equal(moved, normal) and ((scar != moved).float().mean((1, 2, 3)) < 0.45).all()


def test_torchs_own_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    made(CutPaste(frontend(), kinds=ALL))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": []},
        {"kinds": ["scar", "scar"]},
        {"kinds": ["rotate"]},
        {"area": [0.0, 0.1]},
        {"aspect": [1.2, 3.0]},
        {"jitter": 0.6},
        {"scar_width": [0, 4]},
        {"scar_length": [10, 40]},
        {"scar_angle": 120.0},
        {"translate": 1.0},
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        make("views", Part("cutpaste", wrong), frontend())


def test_media_that_are_no_pictures_are_refused() -> None:
    front = frontend()
    front.shape = (64,)
    with pytest.raises(UserError, match="takes pictures"):
        CutPaste(front)
