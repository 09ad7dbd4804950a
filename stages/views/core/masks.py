"""Masks over a grid of patches: which ones an encoder sees, and which ones it has to predict.

Places are drawn for each sample from (seed, epoch, sample). A batch is one tensor, so what fixes the number of patches is the
batch's: block sides are drawn from its first sample, and contexts are cut to its smallest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.views.core import random
from stages.views.core.base import Key

Range = tuple[float, float]
Grid = tuple[int, int]  # rows, columns of patches

ATTEMPTS = 8  # placings drawn for a sample before the one with the largest context is taken
_SIDES, _PLACES, _PATCHES, _OPEN = 0x536964, 0x506C61, 0x506174, 0x4F7065  # name the streams of the draws


@dataclass(frozen=True)
class Masks:
    """Numbers of patches in raster order: context (B, M); targets (B, K, T) of K sets that may overlap one another.

    No patch of an item's context is among its targets, and none is twice in one set.
    """

    context: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Blocks:
    """How blocks are drawn: Assran et al. 2023, "I-JEPA", sec. 3 and appendix A.1, whose values are the defaults.

    count: target blocks. target_area, context_area: shares of the grid. target_ratio: height to width of a target; the context
    has the grid's own. least: patches that a context should keep, if one of ATTEMPTS placings leaves so many.
    """

    count: int = 4
    target_area: Range = (0.15, 0.2)
    target_ratio: Range = (0.75, 1.5)
    context_area: Range = (0.85, 1.0)
    least: int = 10

    def __post_init__(self) -> None:
        for name, (low, high) in {"target_area": self.target_area, "context_area": self.context_area}.items():
            if not 0 < low <= high <= 1:
                raise UserError(f"{name} is a range of shares of the picture, not {low:g} to {high:g}", do="write [low, high]")
        if not 0 < self.target_ratio[0] <= self.target_ratio[1]:
            raise UserError(f"target_ratio {self.target_ratio} is no range above 0", do="write [low, high]")
        if self.count < 1 or self.least < 1:
            raise UserError(f"{self.count} target blocks and {self.least} patches of context: at least 1 each")


def multiblock(key: Key, grid: Grid, blocks: Blocks) -> Masks:
    """One context block less all of `blocks.count` target blocks, for each sample of the batch.

    Each block lies anywhere on the grid, all places being equally likely. Target blocks of a batch have the same sides, context
    blocks too. Of a context larger than the batch's smallest, those patches are kept that come first in raster order from a
    corner drawn for each sample, so that it stays in one piece and no side of the picture is favoured.

    Raises UserError where targets leave some sample of the batch no context in any of its placings.
    """
    rows, columns = grid
    b, device = len(key.sample), key.sample.device
    u = random.uniform(random.stream(key.seed, key.epoch, key.sample[0], _SIDES), 3).tolist()
    target = sides(grid, _between(u[0], *blocks.target_area), _between(u[1], *blocks.target_ratio))
    context = sides(grid, _between(u[2], *blocks.context_area), rows / columns)

    draws = 2 * (blocks.count + 1)
    u2 = random.uniform(random.stream(key.seed, key.epoch, key.sample, _PLACES), ATTEMPTS * draws + 2)
    placing = u2[:, :-2].reshape(b, ATTEMPTS, blocks.count + 1, 2)
    top, left = _placed(placing[:, :, 1:], target, grid)
    hidden = inside(top, left, target, grid).any(2)  # (B, attempts, N)
    allowed = inside(*_placed(placing[:, :, 0], context, grid), context, grid) & ~hidden
    count = allowed.sum(2)
    enough = count >= blocks.least
    attempt = torch.where(enough.any(1), enough.to(torch.uint8).argmax(1), count.argmax(1))

    row = torch.arange(b, device=device)
    smallest = int(count[row, attempt].min())
    if not smallest:
        raise UserError(
            f"{blocks.count} blocks of {target[0]} x {target[1]} patches leave no context on a grid of {rows} x {columns}",
            do="lower their number or `target_area`",
        )
    corner = (u2[:, -2:] < 0.5).unsqueeze(-1)  # (B, 2, 1): from the last row, from the last column
    place = torch.arange(rows * columns, device=device)
    down, across = place // columns, place % columns
    order = torch.where(corner[:, 0], rows - 1 - down, down) * columns
    order = order + torch.where(corner[:, 1], columns - 1 - across, across)
    order = order + rows * columns * ~allowed[row, attempt]  # what may not be seen comes last
    return Masks(order.argsort(dim=1)[:, :smallest], _patches(top[row, attempt], left[row, attempt], target, columns))


def scattered(key: Key, grid: Grid, like: Masks) -> Masks:
    """Single patches at random, as many as `like` has: its contexts' number, and its targets' mean number without repeats.

    One set of targets (B, 1, T). T is at most what the context leaves.
    """
    patches = grid[0] * grid[1]
    seen = like.context.shape[1]
    hidden = min(round(distinct(like.targets, patches).double().mean().item()), patches - seen)
    words = random.bits(random.stream(key.seed, key.epoch, key.sample, _PATCHES), patches)
    order = words.argsort(dim=1, stable=True)
    return Masks(order[:, :seen], order[:, seen : seen + hidden].unsqueeze(1))


def inverse_blocks(state: Tensor, grid: Grid, *, hidden: float, side: int, own: Tensor | None = None) -> Tensor:
    """state (S,): streams -> bool (S, N): True where one of the few blocks that stay visible lies.

    Baevski et al. 2022, "data2vec 2.0", sec. 3 ("inverse block masking"): blocks of side x side patches are opened one after
    another, in a random order of all places that overlap the grid, until a share 1 - hidden of an item's own n patches is
    visible; of the block that reaches it some patches stay hidden, drawn evenly. So exactly n - round(hidden n) are visible,
    one at least, and one at least is hidden where n > 1. A sequence is a grid of one row; side 1 is a mask of single patches.

    own (S, N) bool: the item's own patches; None: all. Raises UserError for a share beyond 0 to 1 or a side below 1.
    """
    if not 0 < hidden < 1 or side < 1:
        raise UserError(f"hidden {hidden:g} is a share between 0 and 1, side {side} a whole number from 1", where="masks")
    rows, columns = grid
    block = (min(side, rows), min(side, columns))
    tall, wide = rows + block[0] - 1, columns + block[1] - 1  # places of a block, over the edges too
    order = random.bits(random.stream(state, _OPEN), tall * wide).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    # a patch opens with the first of the blocks over it, those whose corner lies up to `block` before it
    windows = order.view(-1, 1, tall, wide).double()
    first = -F.max_pool2d(-windows, block, stride=1).flatten(1)
    own = torch.ones_like(first, dtype=torch.bool) if own is None else own
    within = random.bits(random.stream(state, _PATCHES), rows * columns).argsort(dim=1, stable=True).argsort(dim=1, stable=True)
    key = torch.where(own, first * (rows * columns) + within, torch.inf)
    n = own.sum(1)
    visible = torch.minimum((n - (hidden * n).round().long()).clamp_min(1), (n - 1).clamp_min(1))
    return (key.argsort(dim=1, stable=True).argsort(dim=1, stable=True) < visible.unsqueeze(1)) & own


def sides(grid: Grid, area: float, ratio: float) -> tuple[int, int]:
    """Height and width in patches of a block of `area` (share of the grid) and `ratio` (height to width), whole, 1 at least."""
    patches = area * grid[0] * grid[1]
    height, width = round(math.sqrt(patches * ratio)), round(math.sqrt(patches / ratio))
    return min(max(height, 1), grid[0]), min(max(width, 1), grid[1])


def inside(top: Tensor, left: Tensor, block: tuple[int, int], grid: Grid) -> Tensor:
    """(..., N) bool: the patches of a block of `block` = (height, width) whose first one lies at top, left (...)."""
    row, column = (torch.arange(n, device=top.device) for n in grid)
    down = (row >= top.unsqueeze(-1)) & (row < top.unsqueeze(-1) + block[0])
    across = (column >= left.unsqueeze(-1)) & (column < left.unsqueeze(-1) + block[1])
    return (down.unsqueeze(-1) & across.unsqueeze(-2)).flatten(-2)


def distinct(targets: Tensor, patches: int) -> Tensor:
    """How many of `patches` are among an item's targets (B, K, T), each counted once: (B,)."""
    among = torch.zeros(len(targets), patches, dtype=torch.bool, device=targets.device)
    return among.scatter_(1, targets.flatten(1), True).sum(1)


def _placed(u: Tensor, block: tuple[int, int], grid: Grid) -> tuple[Tensor, Tensor]:
    """u (..., 2) in [0, 1) -> first row and column (...) of a block, every place on the grid being equally likely."""
    top, left = ((u[..., i] * (grid[i] - block[i] + 1)).long() for i in (0, 1))
    return top, left


def _patches(top: Tensor, left: Tensor, block: tuple[int, int], columns: int) -> Tensor:
    """top, left (...) -> (..., height * width): the numbers of a block's patches."""
    within = torch.arange(block[0], device=top.device).unsqueeze(1) * columns + torch.arange(block[1], device=top.device)
    return (top * columns + left).unsqueeze(-1) + within.flatten()


def _between(u: float, low: float, high: float) -> float:
    return low + (high - low) * u
