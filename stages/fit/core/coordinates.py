"""Several number columns as the coordinates of a point, for heads that predict where an item is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.fit.core.head import Outcome, Problem, Rows


@dataclass(frozen=True)
class Points:
    """Coordinates (N, d) float64 of the train, valid and test rows."""

    train: Tensor
    valid: Tensor
    test: Tensor


def points(problem: Problem, columns: Sequence[str]) -> Points:
    """The named columns of the problem's rows. The first of them is the task's label, by which rows are drawn and known.

    Raises UserError where it is not, or where a row that has the label lacks another column.
    """
    if not columns or len(set(columns)) < len(columns):
        raise UserError(f"columns {list(columns)}: name each coordinate once", where="head columns")
    found = Points(*(_of(problem, rows, columns) for rows in (problem.train, problem.valid, problem.test)))
    if not torch.equal(found.train[:, 0], problem.train.labels.double()):
        raise UserError(
            f"the task's label is not {columns[0]!r}", where="head columns", do="name the label first among the columns"
        )
    return found


def _of(problem: Problem, rows: Rows, columns: Sequence[str]) -> Tensor:
    values = [problem.input.values(name, rows.ids) for name in columns]
    for name, column in zip(columns, values):
        if any(not isinstance(v, (int, float)) for v in column):
            raise UserError(
                f"column {name!r} is no number in every labelled row", where="head columns", do="name number labels"
            )
    return torch.from_numpy(np.array(values, np.float64).T.copy()).to(rows.x.device)


def distance(one: Tensor, other: Tensor) -> float:
    """Mean Euclidean distance between points (N, d)."""
    return float((one - other).norm(dim=1).mean())


def outcome(predicted: Tensor, true: Tensor, details: dict[str, object]) -> Outcome:
    """predicted, true (N, d) of the test rows, as the metrics of points take them: the first coordinate is the prediction."""
    return Outcome(prediction=predicted[:, 0], score=torch.cat([predicted, true], 1), details=details)
