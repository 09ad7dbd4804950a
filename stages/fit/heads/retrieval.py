"""Retrieval: each test item takes the class of its nearest neighbour in a dictionary of items."""

from __future__ import annotations

from typing import Literal

import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem
from stages.measures.core.neighbours import nearest


@part
class Retrieval:
    """Nothing is fitted: the rows of the splits `dictionary` are entries, the test rows queries, near by cosine.

    The prediction is the class of the nearest entry, so the metric accuracy is acc@1; value accuracy_at_<k> for each k of `at`:
    the share of queries with an entry of their class among the k nearest (Liu et al. 2021, "SapBERT", sec. 3: entity linking as
    search among names). Entries are counted, not classes: three names of one concept fill three places. Of entries equally
    near the first in the features is taken.

    Raises UserError for a dictionary of no rows, or for k of less than 1.
    """

    label: Literal["class", "number"] | None = "class"

    def __init__(self, *, dictionary: tuple[str, ...] = ("train",), at: tuple[int, ...] = (5,)) -> None:
        if not dictionary or (at and min(at) < 1):
            raise UserError("name a split or more as `dictionary`, and numbers of 1 or more in `at`", where="head retrieval")
        self.dictionary, self.at = dictionary, at

    def fit(self, problem: Problem) -> Outcome:
        entries = [problem.split(name) for name in self.dictionary]
        label = torch.cat([rows.labels for rows in entries])
        bank = torch.cat([rows.x for rows in entries])
        found = nearest(bank, problem.test.x, max((1, *self.at)))[1]
        hit = label[found] == problem.test.labels.unsqueeze(1)
        values = {f"accuracy_at_{k}": float(hit[:, :k].any(1).double().mean()) for k in self.at}
        items = len(set(problem.test.ids.tolist()))
        return Outcome(prediction=label[found[:, 0]], values=values, items=items, details={"entries": len(bank)})
