"""ABX discriminability: does an item lie nearer to one of its own kind than to one of another?"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.fit.core.abx.cells import Attributes, thinned
from stages.fit.core.abx.distances import DISTANCES
from stages.fit.core.abx.scores import Collapse, collapsed, score
from stages.fit.core.abx.warping import Sequences
from stages.fit.core.head import Outcome, Problem, Rows

HIGHER_IS_BETTER = {"abx_error": False}


@part
class ABX:
    """Triples (a, b, x): `on` is that of x for a, another for b; all of `by` are equal; all of `across` are equal for a and b,
    and others for x. Without `across`, a and x are different items. Chance is an abx_error of 0.5.

    abx_error = 1 - mean over triples of [d(a, x) < d(b, x)] + [d(a, x) = d(b, x)] / 2, over cells of equal values and then over
    cells by `collapse` (see core/abx/scores.py). Schatz et al. 2013, "Evaluating speech features with the minimal-pair ABX
    task"; as in Poli et al. 2025, "fastabx".

    Rows of an item in the order of their index are warped onto those of another (see core/abx/warping.py); an item of one row
    (features of `rows: clip`) needs no warping. distance, of frames: angular, euclidean, kl (of probabilities), identical (0 or
    1, for discrete units). `on`, `by`, `across` name columns of the corpus; items without a value are left out.
    splits: whose items are asked about. max_cell: at most so many items of equal values, drawn anew for each seed; max_across:
    at most so many sides of X for each side of A and B, drawn likewise. precision: of distances; float32 takes half the time.

    Raises UserError for columns named twice, no triples, or values of which there is only one.
    """

    label = None

    def __init__(
        self,
        *,
        on: str,
        by: tuple[str, ...] = (),
        across: tuple[str, ...] = (),
        distance: Literal["angular", "euclidean", "kl", "identical"] = "angular",
        splits: tuple[str, ...] = ("test",),
        max_cell: int | None = None,
        max_across: int | None = None,
        collapse: Collapse = "hierarchical",
        precision: Literal["float32", "float64"] = "float64",
    ) -> None:
        names = [on, *by, *across]
        if len(set(names)) < len(names):
            raise UserError(f"a column is named twice: {', '.join(names)}", where="head abx", do="give each one role")
        if not splits or min(max_cell or 2, 2) < 2 or (max_across is not None and max_across < 1):
            raise UserError("name a split; max_cell is 2 or more, max_across 1 or more", where="head abx")
        self.on, self.by, self.across, self.splits, self.collapse = on, by, across, splits, collapse
        self.distance, self.precision = DISTANCES[distance], {"float32": torch.float32, "float64": torch.float64}[precision]
        self.max_cell, self.max_across = max_cell, max_across

    def fit(self, problem: Problem) -> Outcome:
        ids, lengths, x = _items([problem.split(name) for name in self.splits])
        columns = {name: problem.input.values(name, ids) for name in (self.on, *self.by, *self.across)}
        known = np.array([all(value is not None for value in row) for row in zip(*columns.values(), strict=True)], bool)
        if not known.any():
            raise UserError(f"no item has a value of all of {', '.join(columns)}", where="head abx", do="name other columns")
        given = {name: [v for v, kept in zip(values, known, strict=True) if kept] for name, values in columns.items()}
        attributes = Attributes.of(given[self.on], [given[c] for c in self.by], [given[c] for c in self.across])
        chosen = np.flatnonzero(known)
        kept = thinned(attributes, ids[chosen], problem.seed, self.max_cell)
        attributes, chosen = attributes.at(kept), chosen[kept]
        start = np.cumsum(lengths) - lengths
        frames = np.concatenate([np.arange(start[i], start[i] + lengths[i]) for i in chosen])
        of_items = torch.from_numpy(lengths[chosen]).to(x.device)
        sequences = Sequences.of(x[torch.from_numpy(frames).to(x.device)].to(self.precision), of_items, self.distance)
        scored = score(sequences, attributes, self.distance, problem.seed, self.max_across)
        if not scored.cells:
            raise UserError(
                "there are no triples: no context holds two values of `on`, one of them twice",
                where="head abx",
                do="take more splits, or fewer columns of `by` and `across`",
            )
        return Outcome(
            values={"abx_error": collapsed(scored.cells, self.collapse)},
            items=len(chosen),
            details={
                "cells": len(scored.cells),
                "pairs": scored.pairs,
                "triples": sum(cell.triples for cell in scored.cells),
                "left_out": int((~known).sum()),
            },
        )


def _items(splits: list[Rows]) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """ids (N,), how many rows each has (N,), and the rows item by item in the order of their index, (sum, D)."""
    ids, index = np.concatenate([rows.ids for rows in splits]), np.concatenate([rows.index for rows in splits])
    names, item = np.unique(ids.astype(str), return_inverse=True)
    order = np.lexsort((index, item))
    if (np.diff(item[order] * (int(index.max()) + 1) + index[order]) == 0).any():
        raise ContractError("an item has two rows of one index", where="head abx", do="name each split once")
    x = torch.cat([rows.x for rows in splits])
    return names.astype(object), np.bincount(item), x[torch.from_numpy(order).to(x.device)]
