"""A map of the features in the plane, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core import shares
from stages.fit.core.head import Outcome, Problem, Rows


@part
class FeatureMap:
    """Positions (N, 2) of `rows` test items at most, drawn by a hash of the id, alike for all seeds; written to map.parquet.

    pca: the first two principal components, each with the sign that makes its largest loading positive. tsne: van der Maaten
    and Hinton 2008, started from these (needs scikit-learn).
    """

    label: Literal["class", "number"] | None = None

    def __init__(self, *, method: Literal["pca", "tsne"] = "pca", rows: int = 2000, perplexity: float = 30.0) -> None:
        if rows < 3:
            raise UserError("a map needs three rows at least", where="head feature_map.rows")
        self.method, self.rows, self.perplexity = method, rows, perplexity

    def fit(self, problem: Problem) -> Outcome:
        test = problem.split("test")
        test = test.where(test.index == 0)
        if len(test) > self.rows:
            draw = shares.draws(shares.keys(test.ids.tolist()), 0)
            test = test.where(draw <= np.partition(draw, self.rows - 1)[self.rows - 1])
        place, share = principal(test.x)
        if self.method == "tsne":
            place = self._tsne(test.x, place)
        x, y = place.cpu().numpy().astype(np.float32).T
        table = {"id": test.ids, "x": x, "y": y, "label": _names(test, problem.classes)}
        return Outcome(items=len(test), details={"method": self.method, "variance": share}, tables={"map": table})

    def _tsne(self, x: Tensor, start: Tensor) -> Tensor:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits

        spread = start[:, 0].std().clamp_min(torch.finfo(start.dtype).tiny)
        with threadpool_limits(1):  # its sums depend on the number of threads
            model = TSNE(
                perplexity=min(self.perplexity, (len(x) - 1) / 3), init=(start / spread * 1e-4).cpu().numpy(), random_state=0
            )
            return torch.from_numpy(model.fit_transform(x.cpu().numpy()))


def _names(rows: Rows, classes: list[str]) -> Sequence[str | float | None]:
    """The label of each row: a class name, a number, or None."""
    if rows.target is None:
        return [None] * len(rows)
    if classes:
        return [classes[c] if c >= 0 else None for c in rows.target.tolist()]
    return [None if v != v else v for v in rows.target.tolist()]


def principal(x: Tensor) -> tuple[Tensor, list[float]]:
    """x (N, D) -> its first two principal components (N, 2) and their shares of the variance. Constant x lies at 0."""
    centred = x.double() - x.double().mean(0)
    u, s, v = torch.linalg.svd(centred, full_matrices=False)
    u, s, v = (torch.nn.functional.pad(t, p) for t, p in ((u, (0, 2)), (s, (0, 2)), (v, (0, 0, 0, 2))))  # D or N may be 1
    sign = v[:2].gather(1, v[:2].abs().argmax(1, keepdim=True)).sign()[:, 0]
    share = s[:2] ** 2 / (s**2).sum().clamp_min(torch.finfo(s.dtype).tiny)
    return u[:, :2] * s[:2] * sign, [float(p) for p in share]
