"""Block masks: rectangles of the right sides, contexts apart from targets, places that the key alone fixes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.common.errors import UserError
from stages.views.core import masks, random
from stages.views.core.base import Key
from stages.views.core.masks import Blocks, Masks
from tests.oracles import i_jepa as slow


def key(n: int = 16, seed: int = 0, epoch: int = 0, first: int = 0) -> Key:
    return Key(seed, epoch, torch.arange(first, first + n))


def cells(index: Tensor, columns: int) -> list[tuple[int, int]]:
    return [divmod(i, columns) for i in index.tolist()]


def smallest_box(found: list[tuple[int, int]]) -> tuple[int, int]:
    """Height and width of the smallest block around the cells."""
    rows, columns = zip(*found)
    return max(rows) - min(rows) + 1, max(columns) - min(columns) + 1


@settings(max_examples=40)
@given(
    rows=st.integers(4, 14),
    columns=st.integers(4, 14),
    count=st.integers(1, 4),
    epoch=st.integers(0, 2**40),
    n=st.integers(1, 9),
)
def test_targets_are_rectangles_and_contexts_hold_none_of_them(rows: int, columns: int, count: int, epoch: int, n: int) -> None:
    drawn = masks.multiblock(key(n, epoch=epoch), (rows, columns), Blocks(count=count))
    assert drawn.targets.shape[:2] == (n, count) and drawn.context.shape[0] == n and drawn.context.shape[1] >= 1
    boxes, share = set(), rows * columns
    for item in range(n):
        seen = drawn.context[item].tolist()
        assert len(set(seen)) == len(seen) and set(seen) <= set(range(rows * columns))
        assert not set(seen) & set(drawn.targets[item].flatten().tolist())
        height, width = smallest_box(cells(drawn.context[item], columns))
        assert (height - 0.5) * (width - 0.5) <= share
        for block in drawn.targets[item]:
            height, width = smallest_box(cells(block, columns))
            assert height * width == len(set(block.tolist())) == len(block)  # a full rectangle
            boxes.add((height, width))
    assert len(boxes) == 1  # of one batch
    height, width = boxes.pop()
    assert (height - 0.5) * (width - 0.5) <= 0.2 * share  # rounding moves a side by half a patch at most
    assert (height + 0.5) * (width + 0.5) >= 0.15 * share
    assert (height - 0.5) / (width + 0.5) <= 1.5 and (height + 0.5) / (width - 0.5) >= 0.75


@pytest.mark.parametrize(("rows", "columns", "count", "least"), [(8, 8, 4, 10), (6, 10, 3, 20), (14, 14, 4, 60), (8, 8, 1, 1)])
def test_they_are_those_of_a_search_cell_by_cell(rows: int, columns: int, count: int, least: int) -> None:
    samples = [5, 0, 77, 12, 3, 900]
    for epoch in range(4):
        drawn = masks.multiblock(Key(3, epoch, torch.tensor(samples)), (rows, columns), Blocks(count=count, least=least))
        contexts, targets = slow.multiblock(3, epoch, samples, rows, columns, count, least, masks.ATTEMPTS)
        assert [cells(c, columns) for c in drawn.context] == contexts
        assert [[cells(block, columns) for block in sets] for sets in drawn.targets] == targets


def test_a_samples_targets_do_not_depend_on_the_rest_of_its_batch() -> None:
    together, other = masks.multiblock(key(12), (8, 8), Blocks()), Key(0, 0, torch.tensor([0, 7, 3, 1000]))
    apart = masks.multiblock(other, (8, 8), Blocks())
    assert torch.equal(apart.targets[:3], together.targets[[0, 7, 3]])
    shared = min(apart.context.shape[1], together.context.shape[1])
    assert torch.equal(apart.context[:3, :shared], together.context[[0, 7, 3], :shared])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"first": 1000}])
def test_seed_epoch_and_sample_change_the_masks(change: dict[str, int]) -> None:
    one, other = (
        masks.multiblock(key(64, **c), (8, 8), Blocks(target_area=(0.2, 0.2), target_ratio=(1, 1))) for c in ({}, change)
    )
    same = (one.targets == other.targets).all(-1).float().mean()
    assert same < 0.1  # 25 places on the grid: 0.04 by chance


def test_every_place_of_a_block_is_equally_likely() -> None:
    blocks = Blocks(count=1, target_area=(0.2, 0.2), target_ratio=(1, 1), least=1)  # 4 x 4 on 8 x 8
    first = masks.multiblock(key(20_000), (8, 8), blocks).targets[:, 0, 0]
    counts = torch.bincount(first, minlength=64).view(8, 8)
    assert counts[5:].sum() == counts[:, 5:].sum() == 0
    expected = 20_000 / 25
    chi = ((counts[:5, :5] - expected).square() / expected).sum()
    assert chi < 51.2  # 24 degrees of freedom: p = 0.001


def test_a_placing_with_too_small_a_context_is_drawn_again() -> None:
    area = {"target_area": (0.19, 0.19), "target_ratio": (1.0, 1.0), "context_area": (1.0, 1.0)}  # 3 x 3: 28 patches or more
    free, bound = (masks.multiblock(key(64), (8, 8), Blocks(**area, least=least)) for least in (1, 34))  # type: ignore[arg-type]
    assert free.context.shape[1] < 34 <= bound.context.shape[1]
    kept = (free.targets == bound.targets).flatten(1).all(1)
    assert 0.5 < kept.float().mean() < 1  # who had enough keeps its first placing


def test_where_no_placing_leaves_enough_the_largest_context_is_taken() -> None:
    never = masks.multiblock(key(32), (8, 8), Blocks(least=64))
    for least in (1, 10, 16, 24):
        assert never.context.shape[1] >= masks.multiblock(key(32), (8, 8), Blocks(least=least)).context.shape[1]


def test_contexts_are_cut_from_every_side_alike() -> None:
    seen = masks.multiblock(key(4000), (8, 8), Blocks()).context
    for part in (seen // 8 < 4, seen % 8 < 4):  # the upper half, the left half
        assert float(part.double().mean()) == pytest.approx(0.5, abs=0.02)


def test_scattered_patches_are_as_many_as_the_blocks_and_apart() -> None:
    like = masks.multiblock(key(200), (8, 8), Blocks())
    drawn = masks.scattered(key(200), (8, 8), like)
    mean = sum(len(set(item.flatten().tolist())) for item in like.targets) / 200
    assert drawn.context.shape == like.context.shape
    assert drawn.targets.shape == (200, 1, round(mean))
    both = torch.cat([drawn.context, drawn.targets[:, 0]], 1)
    assert all(len(set(item)) == len(item) for item in both.tolist())


def test_scattered_patches_lie_anywhere() -> None:
    like = Masks(torch.zeros(5000, 20, dtype=torch.int64), torch.arange(30).expand(5000, 1, 30))
    drawn = masks.scattered(key(5000), (8, 8), like)
    for index, share in ((drawn.context, 20 / 64), (drawn.targets, 30 / 64)):
        counts = torch.bincount(index.flatten(), minlength=64).double() / 5000
        torch.testing.assert_close(counts, torch.full((64,), share, dtype=torch.float64), atol=0.035, rtol=0)
    alone = masks.scattered(Key(0, 0, torch.tensor([17])), (8, 8), Masks(like.context[:1], like.targets[:1]))
    assert torch.equal(alone.context[0], drawn.context[17])


def test_scattered_targets_are_at_most_what_the_context_leaves() -> None:
    like = Masks(torch.arange(60).expand(2, 60), torch.arange(30).expand(2, 1, 30))
    assert masks.scattered(key(2), (8, 8), like).targets.shape == (2, 1, 4)


def test_overlapping_targets_count_once() -> None:
    targets = torch.tensor([[[0, 1, 2], [2, 3, 4]], [[0, 1, 2], [0, 1, 2]]])
    assert masks.distinct(targets, 9).tolist() == [5, 3]


@pytest.mark.parametrize(
    ("area", "ratio", "expected"),
    [(0.25, 1.0, (4, 4)), (0.25, 4.0, (8, 2)), (1.0, 1.0, (8, 8)), (0.001, 1.0, (1, 1)), (0.5, 100.0, (8, 1))],
)
def test_sides_have_the_area_and_the_ratio(area: float, ratio: float, expected: tuple[int, int]) -> None:
    assert masks.sides((8, 8), area, ratio) == expected


def test_drawing_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    masks.scattered(key(), (8, 8), masks.multiblock(key(), (8, 8), Blocks()))
    assert torch.equal(before, torch.get_rng_state())


def test_the_streams_of_the_draws_are_apart() -> None:
    words = {int(random.stream(0, 0, 0, name)) for name in (masks._SIDES, masks._PLACES, masks._PATCHES, masks._OPEN)}
    assert len(words) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"least": 0},
        {"target_area": (0.0, 0.2)},
        {"target_area": (0.3, 0.2)},
        {"context_area": (0.5, 1.1)},
        {"target_ratio": (0.0, 1.0)},
        {"target_ratio": (2.0, 1.0)},
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Blocks(**wrong)  # type: ignore[arg-type]


def test_targets_that_cover_the_picture_are_the_users_mistake() -> None:
    with pytest.raises(UserError, match="leave no context on a grid of 8 x 8"):
        masks.multiblock(key(), (8, 8), Blocks(target_area=(1.0, 1.0), target_ratio=(1, 1)))
