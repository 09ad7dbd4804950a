"""Inverse block masks: exactly the share that is asked for, in blocks, every patch about as often, padding never."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.common.errors import UserError
from stages.views.core import masks, random
from stages.views.core.masks import inverse_blocks
from tests.oracles import data2vec2 as slow


def states(n: int, first: int = 0) -> Tensor:
    return random.stream(torch.arange(first, first + n))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 6),
    columns=st.integers(1, 9),
    side=st.integers(1, 4),
    hidden=st.floats(0.05, 0.95),
    first=st.integers(0, 2**40),
    own=st.integers(1, 54),
)
def test_masks_are_those_of_blocks_opened_one_by_one(
    rows: int, columns: int, side: int, hidden: float, first: int, own: int
) -> None:
    mine = torch.arange(rows * columns) < own
    found = inverse_blocks(states(1, first), (rows, columns), hidden=hidden, side=side, own=mine[None])
    state = slow.stream(first)
    opening, within = (slow.stream(state, word) for word in (masks._OPEN, masks._PATCHES))
    # a stream of a stream: its state is the first word
    assert int(random.stream(states(1, first), masks._OPEN)) % 2**64 == opening
    expected = slow.inverse_blocks(opening, within, rows, columns, hidden, side, mine.tolist())
    assert found[0].tolist() == expected


@pytest.mark.parametrize(
    ("grid", "side", "hidden"), [((14, 14), 3, 0.8), ((8, 8), 3, 0.8), ((1, 40), 5, 0.5), ((1, 48), 1, 0.48)]
)
def test_the_visible_share_is_exact(grid: tuple[int, int], side: int, hidden: float) -> None:
    n = grid[0] * grid[1]
    visible = inverse_blocks(states(200), grid, hidden=hidden, side=side)
    assert (visible.sum(1) == n - round(hidden * n)).all()
    own = torch.arange(n) < torch.arange(1, n + 1).unsqueeze(1)  # items of 1 to n tokens
    visible = inverse_blocks(states(n), grid, hidden=hidden, side=side, own=own)
    assert not (visible & ~own).any()
    for count, of in zip(visible.sum(1).tolist(), range(1, n + 1)):
        assert count == min(max(of - round(hidden * of), 1), max(of - 1, 1))


def test_what_is_visible_lies_in_blocks() -> None:
    """With side 3 a visible patch has far more visible neighbours than among patches strewn at random."""
    beside = {}
    for side in (1, 3):
        visible = inverse_blocks(states(300), (14, 14), hidden=0.8, side=side).view(-1, 14, 14).float()
        pairs = (visible[:, 1:] * visible[:, :-1]).sum() + (visible[:, :, 1:] * visible[:, :, :-1]).sum()
        beside[side] = float(pairs) / float(visible.sum())
    assert beside[1] == pytest.approx(2 * 13 / 14 * 38 / 195, rel=0.05)  # 39 of 196 patches, strewn
    assert beside[3] > 3 * beside[1]


def test_every_patch_is_visible_about_as_often() -> None:
    often = inverse_blocks(states(4000), (8, 8), hidden=0.8, side=3).double().mean(0)
    assert often.min() > 0.17 and often.max() < 0.24  # 13 of 64 are 0.203


def test_arguments_out_of_range_are_the_users_mistake() -> None:
    for wrong in ({"hidden": 0.0, "side": 3}, {"hidden": 1.0, "side": 3}, {"hidden": 0.8, "side": 0}):
        with pytest.raises(UserError):
            inverse_blocks(states(1), (4, 4), **wrong)  # type: ignore[arg-type]
