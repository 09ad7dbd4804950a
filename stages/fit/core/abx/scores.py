"""ABX error: of all triples of a task, how often B is nearer to X than A is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.fit.core.abx.cells import Attributes, Block, blocks
from stages.fit.core.abx.distances import Distance
from stages.fit.core.abx.warping import TIE, Sequences, warped

_CHUNK = 2048  # items on a side of the distances that are held at once; a larger group of items is a chunk of its own
Collapse = Literal["hierarchical", "weighted"]


@dataclass(frozen=True)
class Cell:
    """All triples of A and X of value `a`, B of value `b`, in one context: their mean error, and how many they are."""

    a: int
    b: int
    by: tuple[int, ...]
    sides: tuple[int, int]  # of A and B, and of X
    error: float
    triples: int


@dataclass(frozen=True)
class Scored:
    """A task's cells, and how many pairs of items were compared for them."""

    cells: list[Cell]
    pairs: int


def score(
    sequences: Sequences, attributes: Attributes, distance: Distance, seed: int = 0, most_across: int | None = None
) -> Scored:
    """The cells of a task over N items, in memory that grows with the square of a group of equal values, not of N."""
    pairs, found = 0, []
    for block in blocks(attributes, seed, most_across):
        scored = _Block(sequences, block, distance)
        found += list(scored.cells())
        pairs += scored.pairs
    return Scored(found, pairs)


def collapsed(cells: list[Cell], how: Collapse) -> float:
    """One error. weighted: the mean over all triples. hierarchical: unweighted means, over one column of `by` after another,
    over the sides of X, over those of A and B, and at last over the pairs of values of `on` (Schatz 2016, "ABX-discriminability
    measures and applications", sec. 1.3.2). nan where there is no cell.
    """
    if not cells:
        return float("nan")
    error = np.array([c.error for c in cells])
    if how == "weighted":
        return float(np.average(error, weights=[c.triples for c in cells]))
    key = np.array([(*c.by, c.sides[1], c.sides[0], c.a, c.b) for c in cells])
    while key.shape[1] > 2:
        key, group = np.unique(key[:, 1:], axis=0, return_inverse=True)
        group = group.reshape(-1)
        error = np.bincount(group, error) / np.bincount(group)
    return float(error.mean())


class _Block:
    """One block's distances, chunk by chunk of its values, and the cells that they give."""

    def __init__(self, sequences: Sequences, block: Block, distance: Distance) -> None:
        self.sequences, self.block, self.distance, self.pairs = sequences, block, distance, 0
        self.own: dict[tuple[str, int], Tensor] = {}  # of the X of a side and value: distances to the As, sorted (nx, na)
        self.lengths = sequences.lengths.cpu().numpy()

    def cells(self) -> Iterator[Cell]:
        chunks = list(_chunks(self.block))
        for chunk in chunks:
            yield from self._between(chunk, chunk, True)
        for i, first in enumerate(chunks):
            for j, second in enumerate(chunks):
                if j > i or (j < i and not self.block.within):
                    yield from self._between(first, second, False)

    def _between(self, first: list[int], second: list[int], diagonal: bool) -> Iterator[Cell]:
        """The cells of values `first` of the left side and `second` of the right one."""
        block = self.block
        rows, columns = _Joined(block.left, first, self.lengths), _Joined(block.right, second, self.lengths)
        same = block.within and diagonal
        ahead = self._distances(rows, rows if same else columns)  # of left As and Bs to right Xs
        if same:
            ahead.fill_diagonal_(float("inf"))  # no item is its own A
        back = ahead if self.distance.symmetric else ahead.T if same else self._distances(columns, rows).T
        if diagonal:
            for value in first:
                self._keep("right", value, _part(ahead, rows, columns, value, value).T)
                if not same:
                    self._keep("left", value, _part(back, rows, columns, value, value))
        for g in first:
            for h in second:
                if g == h or (same and g > h):
                    continue
                yield from self._cell("right", h, g, _part(ahead, rows, columns, g, h).T)
                yield from self._cell("left", g, h, _part(back, rows, columns, g, h))

    def _keep(self, side: str, value: int, distances: Tensor) -> None:
        if distances.numel():
            self.own[side, value] = distances.contiguous().sort(1).values

    def _cell(self, side: str, a: int, b: int, other: Tensor) -> Iterator[Cell]:
        """The cell whose X lie on a side: other (nx, nb) holds the distances of its Bs."""
        block = self.block
        own = self.own.get(("right" if block.within else side, a))
        if own is None or not other.numel() or not block.as_x[side == "right"]:
            return
        count = own.shape[1] - block.within
        if count:
            sides = block.sides if side == "right" else block.sides[::-1]
            yield Cell(a, b, block.by, sides, _error(own, other, count), other.numel() * count)

    def _distances(self, rows: _Joined, columns: _Joined) -> Tensor:
        device = self.sequences.lengths.device
        one = torch.from_numpy(rows.items).to(device)
        two = one if columns is rows else torch.from_numpy(columns.items).to(device)
        n, m = len(one), len(two)
        self.pairs += n * (n - 1) // 2 if one is two and self.distance.symmetric else n * m
        return warped(self.sequences, one, two, self.distance)


class _Joined:
    """The items of some values, short ones first so that there is little padding, and where each value's are among them."""

    def __init__(self, groups: dict[int, np.ndarray], values: list[int], lengths: np.ndarray) -> None:
        items = np.concatenate([groups.get(value, np.empty(0, np.int64)) for value in values])
        value = np.repeat(values, [len(groups.get(v, ())) for v in values])
        order = np.lexsort((items, lengths[items]))
        self.items = items[order]
        self.place = {v: torch.from_numpy(np.flatnonzero(value[order] == v)) for v in values}


def _part(distances: Tensor, rows: _Joined, columns: _Joined, g: int, h: int) -> Tensor:
    """The distances of the row items of value g to the column items of value h."""
    device = distances.device
    return distances[rows.place[g].to(device)][:, columns.place[h].to(device)]


def _chunks(block: Block) -> Iterator[list[int]]:
    """The values of a block, as many at once as have _CHUNK items on a side."""
    held: list[int] = []
    count = 0
    for value in sorted({*block.left, *block.right}):
        more = max(len(block.left.get(value, ())), len(block.right.get(value, ())))
        if held and count + more > _CHUNK:
            yield held
            held, count = [], 0
        held.append(value)
        count += more
    yield held


def _error(own: Tensor, other: Tensor, count: int) -> float:
    """own (nx, na) sorted, of which the first `count` are As (an X's distance to itself is infinite), other (nx, nb):
    1 - the mean over triples of [d(a, x) < d(b, x)] + [d(a, x) = d(b, x)] / 2, up to rounding.
    """
    other = other.contiguous()
    reach = TIE[other.dtype] * other.abs().clamp_min(1)
    nearer = torch.searchsorted(own, other - reach).sum()
    not_farther = torch.searchsorted(own, other + reach, right=True).sum()
    return 1 - float(nearer + not_farther) / (2 * other.numel() * count)
