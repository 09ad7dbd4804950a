"""What heads of one-class learning share: a Gaussian of normal rows, distances from it, and the labels that judge them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from stages.common.errors import UserError
from stages.fit.core.head import Problem
from stages.metrics.auroc import auroc


@dataclass(frozen=True)
class Gaussian:
    """scikit-learn's Gaussian of rows x (N, D), its covariance S shrunk to (1 - a) S + a tr(S) / D I with a = shrinkage."""

    model: Any
    shrinkage: float

    @staticmethod
    def of(x: Tensor, shrinkage: float | None) -> Gaussian:
        """shrinkage None: as Ledoit and Wolf 2004 choose it. Raises UserError for fewer than two rows."""
        from sklearn.covariance import LedoitWolf, ShrunkCovariance
        from threadpoolctl import threadpool_limits

        if len(x) < 2:
            raise UserError("a covariance needs two train rows at least", where="head", do="extract more items")
        with threadpool_limits(1):  # its sums depend on the number of threads
            model = LedoitWolf() if shrinkage is None else ShrunkCovariance(shrinkage=shrinkage)
            model.fit(x.double().cpu().numpy())
        return Gaussian(model, float(model.shrinkage_) if shrinkage is None else shrinkage)

    def distances(self, x: Tensor) -> np.ndarray:
        """Half the squared Mahalanobis distance (N,) of rows x (N, D), in float32, as the task contract keeps scores."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            found: np.ndarray = self.model.mahalanobis(x.double().cpu().numpy()) / 2
        return found.astype(np.float32)


def check_shrinkage(shrinkage: float | None, head: str) -> None:
    """Raises UserError for one that is no share."""
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise UserError(f"the shrinkage lies between 0 and 1, not at {shrinkage:g}", where=f"head {head}")


def normal_class(problem: Problem) -> int:
    """The index, 0 or 1, of the one class that the train rows have; the test rows have both.

    Raises UserError where the label does not suit one-class learning.
    """
    if problem.train.target is None or len(problem.classes) != 2:
        raise UserError("one-class learning is judged by a label of two classes", where="head", do="name such a `label:`")
    train, test = (set(rows.labels.tolist()) for rows in (problem.split("train"), problem.split("test")))
    if len(train) != 1 or -1 in train:
        raise UserError("the train rows are to be of one class, the normal one", where="head", do="split the corpus so")
    if test != {0, 1}:
        raise UserError("the test rows are to be of both classes, all of them labelled", where="head", do="split the corpus so")
    return int(train.pop())


def kinds(problem: Problem, ids: np.ndarray, by: str | None) -> np.ndarray:
    """The value of the column `by` of each of the items `ids` (N,), as text; "" where `by` is None or the item has none."""
    if by is None:
        return np.full(len(ids), "")
    classes = problem.input.corpus.card.column(by).classes
    values = problem.input.values(by, ids)
    return np.array(["" if v is None else classes[v] if classes else str(v) for v in values])


def areas(odd: np.ndarray, score: np.ndarray, kind: np.ndarray, name: str) -> dict[str, float]:
    """name: the AUROC of score (N,) for odd (N,) bool; name_<kind>: of the odd ones of each kind (N,) against all others."""
    found = {name: _area(odd, score)}
    for one in sorted(set(kind[odd].tolist()) - {""}):
        chosen = ~odd | (kind == one)
        found[f"{name}_{one.lower()}"] = _area(odd[chosen], score[chosen])
    return found


def _area(odd: np.ndarray, score: np.ndarray) -> float:
    return auroc(odd.astype(np.int64), odd, np.stack([-score, score], 1))
