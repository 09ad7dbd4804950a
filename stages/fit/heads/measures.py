"""Measures of the features themselves, mostly label-free."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core import shares
from stages.fit.core.head import Outcome, Problem, Rows
from stages.measures.core.measure import Measure, measure


@part
class Measures:
    """The named measures of one split's features; `rows` items at most, drawn by a hash of the id, alike for all seeds.

    25,600 items are what Garrido et al. 2023, "RankMe", sec. 3 found enough. Measures of rows see the first copy of each item,
    those of views all copies, those of a pair the task's features beside those of its `support`.
    """

    label: Literal["class", "number"] | None = None

    def __init__(self, *, names: list[str], split: str = "train", rows: int = 25_600) -> None:
        if not names or rows < 2:
            raise UserError("name one measure and two rows at least", where="head measures")
        self.measures = [measure(name, "head measures.names") for name in names]
        self.split, self.rows = split, rows

    def fit(self, problem: Problem) -> Outcome:
        rows = self._limited(problem.split(self.split))
        outcome = Outcome(items=len(np.unique(rows.ids)), details={"split": self.split})
        for chosen in self.measures:
            value = chosen.function(*self._given(chosen, rows, problem))
            outcome.values[chosen.name] = value
            if not math.isfinite(value):
                outcome.warnings.append(f"{chosen.name} is not defined for these {outcome.items} items")
        return outcome

    def _limited(self, rows: Rows) -> Rows:
        ids = np.unique(rows.ids)
        if len(ids) <= self.rows:
            return rows
        draw = shares.draws(shares.keys(ids.tolist()), 0)
        kept = np.isin(rows.ids, ids[np.argsort(draw, kind="stable")[: self.rows]])
        return rows.where(kept)

    def _given(self, chosen: Measure, rows: Rows, problem: Problem) -> tuple[Tensor, ...]:
        if chosen.takes == "views":
            return (_views(rows, chosen.name),)
        first = rows.where(rows.index == 0)
        if chosen.takes == "rows":
            return (first.x,)
        if problem.support is None:
            raise UserError(f"{chosen.name} compares two features", where="head measures", do="name others as `support:`")
        other = problem.support(self.split)
        return _paired(first, other.where(other.index == 0), chosen.name)


def _views(rows: Rows, name: str) -> Tensor:
    """x (N, V, D) of rows (N V, D) in any order. Raises UserError where items have one copy, or differ in number."""
    _, item, counts = np.unique(rows.ids, return_inverse=True, return_counts=True)
    if counts.min() < 2 or counts.min() != counts.max():
        raise UserError(
            f"{name} needs as many copies of every item, two at least; there are {counts.min()} to {counts.max()}",
            where="head measures",
            do="extract features with `copies:` of 2 or more and random `views:`",
        )
    order = torch.from_numpy(np.lexsort((rows.index, item)))
    return rows.x[order.to(rows.x.device)].view(len(counts), counts[0], -1)


def _paired(one: Rows, other: Rows, name: str) -> tuple[Tensor, Tensor]:
    """x (N, D1), y (N, D2) of the items that both have, in the same order. Raises UserError where there are none."""
    _, here, there = np.intersect1d(one.ids, other.ids, return_indices=True)
    if not len(here):
        raise UserError(
            f"{name}: the features and the support share no item", where="head measures", do="extract the same corpus"
        )
    return one.x[torch.from_numpy(here).to(one.x.device)], other.x[torch.from_numpy(there).to(other.x.device)]
