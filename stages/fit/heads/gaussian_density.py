"""One-class detection: a Gaussian on the features of normal items, and how far others lie from it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core import one_class
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.one_class import Gaussian


@part
class GaussianDensity:
    """score = (f - mu)^T Sigma^-1 (f - mu) / 2 of test features f: -log N(f; mu, Sigma) but for a constant.

    mu (D,), Sigma (D, D) are those of the train rows. Li et al. 2021, "CutPaste", sec. 2.1, after Rippel et al. 2021, "Modeling
    the distribution of normal data": Sigma is shrunk to (1 - a) S + a tr(S) / D I, a = `shrinkage`, null: Ledoit and Wolf 2004.

    The task names a `label:` of two classes; the train rows are of one of them, the normal one, and no other label is seen
    until the scores are judged. Test items are called normal up to the quantile `level` of the scores of the valid rows, or of
    the train rows where there are none. Figures: auroc of the score, and for each value of the column `by` that items of the
    other class have, auroc_<value>: these items against all normal ones.

    Raises UserError for another label, train rows of both classes, or test rows of one.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(self, *, shrinkage: float | None = None, level: float = 0.95, by: str | None = None) -> None:
        one_class.check_shrinkage(shrinkage, "gaussian_density")
        if not 0 < level <= 1:
            raise UserError(f"the level is a share above 0, not {level:g}", where="head gaussian_density")
        self.shrinkage, self.level, self.by = shrinkage, level, by

    def fit(self, problem: Problem) -> Outcome:
        normal = one_class.normal_class(problem)
        train, test = problem.train, problem.test
        odd = test.labels.cpu().numpy() != normal
        kind = one_class.kinds(problem, test.ids, self.by)
        density = Gaussian.of(train.x, self.shrinkage)
        distance = density.distances(test.x)
        beside = problem.valid if len(problem.valid) else train
        limit = float(np.quantile(density.distances(beside.x), self.level))
        counted = {"normal": int((~odd).sum())} | {k: int((kind[odd] == k).sum()) for k in sorted(set(kind[odd].tolist()))}
        return Outcome(
            prediction=torch.from_numpy(np.where(distance > limit, 1 - normal, normal)),
            score=torch.from_numpy(np.stack([-distance, distance] if normal == 0 else [distance, -distance], 1)),
            values=one_class.areas(odd, distance, kind, "auroc"),
            items=len(set(test.ids.tolist())),
            details={"shrinkage": density.shrinkage, "limit": limit, "items": counted},
        )
