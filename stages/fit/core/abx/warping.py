"""Distances between sequences of frames: dynamic time warping of many pairs at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.fit.core.abx.distances import Distance

_TILE = (8, 128)  # items in the rows and in the columns of what is warped at once: some tens of MB at 50 frames an item
_SINGLE = (2048, 2048)  # the same for items of one frame
TIE = {torch.float32: 1e-6, torch.float64: 1e-9}  # what rounding may add to a distance of 1: less is no difference
_CHECK = 8  # steps of a trace between two looks whether all have arrived


@dataclass(frozen=True)
class Sequences:
    """Items of unequal length: frames (sum of lengths, E) as a distance prepared them, item i's lengths[i] from start[i]."""

    frames: Tensor
    start: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.lengths)

    @staticmethod
    def of(x: Tensor, lengths: Tensor, distance: Distance) -> Sequences:
        """x (sum of lengths, D), item after item, in the precision of all that follows; lengths (N,) int64."""
        return Sequences(distance.prepare(x), lengths.cumsum(0) - lengths, lengths)

    def padded(self, items: Tensor) -> Tensor:
        """(1 + T, n, E): the frames of `items` (n,), T of the longest, behind one more; an item's end frames fill up."""
        steps = torch.arange(-1, int(self.lengths[items].max()), device=items.device).unsqueeze(1)
        within = torch.minimum(steps.clamp_min(0), self.lengths[items] - 1)
        return self.frames[self.start[items] + within]


def warped(sequences: Sequences, rows: Tensor, columns: Tensor, distance: Distance) -> Tensor:
    """(n, m): the warped distance of each item of `rows` (n,) to each of `columns` (m,).

    Where both are the same tensor and the distance is symmetric, each pair is computed once: the item that comes first stands
    in the rows.
    """
    half = rows is columns and distance.symmetric
    out = sequences.frames.new_empty(len(rows), len(columns))
    if not out.numel():
        return out
    longest = max(int(sequences.lengths[items].max()) for items in (rows, columns))
    height, width = _TILE if longest > 1 else _SINGLE
    for i in range(0, len(rows), height):
        first = rows[i : i + height]
        u = sequences.padded(first)
        for j in range(i if half else 0, len(columns), width):
            second = columns[j : j + width]
            v = sequences.padded(second)
            cost = distance.between(u.flatten(0, 1), v.flatten(0, 1)).view(*u.shape[:2], *v.shape[:2])
            out[i : i + height, j : j + width] = align(cost, sequences.lengths[first], sequences.lengths[second])
    if half:
        upper = out.triu(1)
        return upper + upper.T + out.diagonal().diag()
    return out


def align(cost: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """cost (1 + T1, n, 1 + T2, m), overwritten: at (i, p, j, q) the distance of frame i - 1 of item p to frame j - 1 of item q;
    lengths rows (n,), columns (m,) -> (n, m).

    C[i, j] = cost[i, j] + min(C[i-1, j], C[i-1, j-1], C[i, j-1]); C at the last frames, divided by the number of cells of the
    path that leads there. Sakoe and Chiba 1978, "Dynamic programming algorithm optimization for spoken word recognition",
    without slope weights. All pairs advance together, antidiagonal by antidiagonal.
    """
    height, n, width, m = cost.shape
    if height == width == 2:
        return cost[1, :, 1]
    cost[0], cost[:, :, 0] = float("inf"), float("inf")
    cost[0, :, 0] = 0.0  # where every path begins
    down = n * width * m  # from a cell to the one below it; to its right there are m
    for k in range(2, height + width - 1):
        low, high = max(1, k - width + 1), min(k - 1, height - 1) + 1

        def diagonal(offset: int, low: int = low, count: int = high - low, k: int = k) -> Tensor:
            return cost.as_strided((count, n, m), (down - m, width * m, 1), low * down + (k - low) * m - offset)

        least = torch.minimum(diagonal(m), diagonal(down))
        diagonal(0).add_(torch.minimum(least, diagonal(down + m), out=least))
    item = torch.arange(n, device=cost.device).unsqueeze(1) * width * m + torch.arange(m, device=cost.device)
    end = (rows.unsqueeze(1) * down + columns * m + item).view(-1)
    flat = cost.view(-1)
    return (flat[end] / steps(flat, end, down, m)).view(n, m)


def steps(flat: Tensor, end: Tensor, down: int, right: int) -> Tensor:
    """How many cells the path to each cell of `end` (P,) has: traced back to the beginning through summed costs `flat`.

    Among predecessors that are equal up to rounding the diagonal one is taken, then the left one.
    down, right: places from a cell to its neighbours.
    """
    at, count, reach = end.clone(), torch.zeros_like(end), TIE[flat.dtype]
    step = 0
    while True:
        alive = at >= down  # the row above the first frames is left only at the beginning
        if step % _CHECK == 0 and not alive.any():
            return count
        count += alive
        left, above = flat[at - right], flat[at - down]
        least = torch.minimum(left, above) + reach
        move = torch.where(flat[at - (down + right)] <= least, down + right, torch.where(left <= above + reach, right, down))
        at -= move * alive
        step += 1
