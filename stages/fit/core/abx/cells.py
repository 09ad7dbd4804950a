"""Which triples an ABX task asks about: items by their values, and the blocks whose distances are wanted together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.common.errors import UserError
from stages.fit.core import shares


@dataclass(frozen=True)
class Attributes:
    """What triples are chosen by, as codes: `on` (N,) (A = X, not B), `by` (N, K) (all equal), `across` (N, L) (A = B, not X).

    Where L is 0, A and X are different items of equal values. values: the names behind the codes of `on`.
    """

    on: np.ndarray
    by: np.ndarray
    across: np.ndarray
    values: list[Any] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.on)

    @staticmethod
    def of(on: Sequence[Any], by: Sequence[Sequence[Any]], across: Sequence[Sequence[Any]]) -> Attributes:
        """Columns of N values each. Raises UserError where there is only one value of `on`, or of a column of `across`."""
        names, code = _coded(on)
        if len(names) < 2:
            raise UserError(f"all {len(on)} items have one value of `on`", where="head abx", do="name another column")
        columns = [_coded(column) for column in across]
        if any(len(found) < 2 for found, _ in columns):
            raise UserError("all items have one value of a column of `across`", where="head abx", do="take more splits")
        return Attributes(
            code, _table([_coded(c)[1] for c in by], len(code)), _table([c for _, c in columns], len(code)), names
        )

    def at(self, chosen: np.ndarray) -> Attributes:
        """The items at `chosen`, positions or a mask."""
        return Attributes(self.on[chosen], self.by[chosen], self.across[chosen], self.values)


@dataclass(frozen=True)
class Block:
    """The items whose distances are wanted together, by their value of `on`: A and B of one side, X of the other.

    left, right: {code of on: positions}; the same object where the task is not across. by: what all have in common. sides:
    codes of what left and right have across. as_x: whether the left items, and the right items, are wanted as X.
    """

    left: dict[int, np.ndarray]
    right: dict[int, np.ndarray]
    by: tuple[int, ...]
    sides: tuple[int, int]
    as_x: tuple[bool, bool] = (True, True)

    @property
    def within(self) -> bool:
        return self.left is self.right


def thinned(attributes: Attributes, ids: np.ndarray, seed: int, most: int | None) -> np.ndarray:
    """(N,) bool: at most `most` items of each combination of values, drawn by a hash of (seed, id)."""
    if most is None:
        return np.ones(len(attributes), bool)
    columns = np.concatenate([attributes.on[:, None], attributes.by, attributes.across], 1)
    group = np.unique(columns, axis=0, return_inverse=True)[1].reshape(-1)
    return shares.take(str(most), shares.keys(ids.tolist()), seed, group)


def blocks(attributes: Attributes, seed: int, most_across: int | None) -> Iterator[Block]:
    """Every block with two values of `on`; of the sides that X may have, `most_across` are drawn for each side of A and B."""
    by, context = np.unique(attributes.by, axis=0, return_inverse=True)
    sides, side = np.unique(attributes.across, axis=0, return_inverse=True)
    context, side = context.reshape(-1), side.reshape(-1)
    for code, shared in enumerate(by):
        common = tuple(int(v) for v in shared)
        here = np.flatnonzero(context == code)
        if not attributes.across.shape[1]:
            groups = _groups(attributes.on, here)
            if len(groups) > 1:
                yield Block(groups, groups, common, (0, 0))
            continue
        present = [int(s) for s in np.unique(side[here])]
        wanted = {s: _drawn([x for x in present if (sides[x] != sides[s]).all()], s, code, seed, most_across) for s in present}
        for i, first in enumerate(present):
            for second in present[i + 1 :]:
                as_x = (first in wanted[second], second in wanted[first])
                if any(as_x):
                    pair = [_groups(attributes.on, here[side[here] == s]) for s in (first, second)]
                    yield Block(pair[0], pair[1], common, (first, second), as_x)


def _groups(on: np.ndarray, items: np.ndarray) -> dict[int, np.ndarray]:
    return {int(value): items[on[items] == value] for value in np.unique(on[items])}


def _drawn(sides: list[int], own: int, context: int, seed: int, most: int | None) -> set[int]:
    if most is None or len(sides) <= most:
        return set(sides)
    order = np.argsort(shares.draws(shares.keys([f"{context}/{own}/{s}" for s in sides]), seed), kind="stable")
    return {sides[i] for i in order[:most]}


def _coded(column: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    names = sorted(set(column))
    code = {name: i for i, name in enumerate(names)}
    return names, np.array([code[value] for value in column], np.int64)


def _table(columns: Sequence[np.ndarray], rows: int) -> np.ndarray:
    return np.stack(columns, 1) if columns else np.empty((rows, 0), np.int64)
