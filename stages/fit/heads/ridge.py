"""Ridge regression, for labels that are numbers."""

from __future__ import annotations

from typing import Literal

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.linear import Axes, best


@part
class Ridge:
    """w (x - mean) / std + b, with mean and std (D,) of the train rows.

    w, b minimise mean (y - prediction)^2 + l2 |w|^2 (scikit-learn's alpha is l2 N). One eigendecomposition serves all strengths
    `l2`; the one with the lowest mean squared error on the valid rows is kept, of equal ones the strongest. Hastie et al. 2009,
    "The elements of statistical learning", sec. 3.4.1, eq. 3.47.
    """

    label: Literal["class", "number"] | None = "number"

    def __init__(self, *, l2: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)) -> None:
        if not l2 or min(l2) <= 0:
            raise UserError("every l2 must be above 0", where="head ridge.l2")
        self.l2 = l2

    def fit(self, problem: Problem) -> Outcome:
        train, valid, test = problem.train, problem.valid, problem.test
        axes = Axes.of(train.x)
        l2 = axes.moments.new_tensor(self.l2)
        mean = train.labels.mean()
        moment = axes.project(train.x).T @ (train.labels - mean) / len(train)  # (r,)
        weights = moment / (axes.moments + l2[:, None])  # (R, r)
        error = (axes.project(valid.x) @ weights.T + mean - valid.labels[:, None]).square().mean(0)
        kept = best(-error, l2)
        return Outcome(
            prediction=axes.project(test.x) @ weights[kept] + mean,
            details={"l2": self.l2[kept], "valid_mse": [float(e) for e in error]},
        )
