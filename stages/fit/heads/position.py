"""Position by a linear map of frozen features."""

from __future__ import annotations

from typing import Literal

import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core.coordinates import distance, outcome, points
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.linear import Axes, best


@part
class Position:
    """p = W (x - mean) / std + b, with mean and std (D,) of the train rows and p the numbers in `columns` (d).

    W, b minimise mean |p - prediction|^2 + l2 |W|^2. Of the strengths `l2` the one with the lowest mean Euclidean error on the
    valid rows is kept, of equal ones the strongest. Hastie et al. 2009, sec. 3.4.1, eq. 3.47, column by column; the linear
    evaluation of Salihu, Schwarz and Rupp 2023. Raises UserError where the columns are not numbers or the label is not among
    them.
    """

    label: Literal["class", "number"] | None = "number"

    def __init__(
        self,
        *,
        columns: tuple[str, ...] = ("x", "y"),
        l2: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    ) -> None:
        if not l2 or min(l2) <= 0:
            raise UserError("every l2 must be above 0", where="head position.l2")
        self.columns, self.l2 = columns, l2

    def fit(self, problem: Problem) -> Outcome:
        at = points(problem, self.columns)
        axes = Axes.of(problem.train.x)
        l2 = axes.moments.new_tensor(self.l2)
        mean = at.train.mean(0)
        moment = axes.project(problem.train.x).T @ (at.train - mean) / len(at.train)  # (r, d)
        weights = moment / (axes.moments[:, None] + l2[:, None, None])  # (R, r, d)
        valid = axes.project(problem.valid.x) @ weights + mean  # (R, N, d)
        error = torch.stack([l2.new_tensor(distance(guess, at.valid)) for guess in valid])
        kept = best(-error, l2)
        predicted = axes.project(problem.test.x) @ weights[kept] + mean
        return outcome(predicted, at.test, {"l2": self.l2[kept], "valid_error": [float(e) for e in error]})
