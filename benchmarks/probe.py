"""The linear probe beside scikit-learn's logistic regression: same rows, same objective, same five strengths.

Standardising included. How far each ends above the optimum that both approach is a line too: a looser end is quicker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least, at_most

CLASSES, L2 = 10, (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
PEER = ("scikit-learn",)
WHY = "two thirds of it are narrow matrix products in float64: 47 steps for the weakest strength (notes.md)"


def cases(options: Options) -> list[Case]:
    rows, columns = (200, 16) if options.quick else (5000, 512)
    given = {"rows": rows, "columns": columns}
    made = []
    for threads in (1,) if options.quick else (1, 2):
        ways = {
            "ours": Way("probe", ours, {**given, "tolerance": 1e-4, "threads": threads}, threads=threads),
            "loose": Way("probe, tolerance 1e-3", ours, {**given, "tolerance": 1e-3, "threads": threads}, threads=threads),
        }
        for kind, tolerance in (("float64", 1e-4), ("float32", 1e-4), ("float64", 1e-6)):
            label = f"LogisticRegression, {kind}, tolerance {tolerance:g}"
            arguments = {**given, "kind": kind, "tolerance": tolerance}
            ways[f"{kind} {tolerance:g}"] = Way(label, theirs, arguments, PEER, threads=threads)
        what = f"probe, {len(L2)} strengths, {rows} x {columns}, {threads} thread{'s' * (threads > 1)}"
        lines = (
            Line(what, "ours", ("float64 0.0001",), aim=at_least(10), why=WHY),
            Line(what, "ours", ("float32 0.0001",), aim=at_least(10), why=WHY),
            Line(what, "ours", ("float64 1e-06",)),
            Line(f"{what}, tolerance 1e-3", "loose", ("float64 0.0001",)),
            Line(f"{what}: above the optimum", "ours", ("float64 0.0001",), "cost", at_most(1), "gap"),
        )
        made.append(Case(f"{threads} threads", ways, lines))
    return made


def data(rows: int, columns: int) -> tuple[Any, Any]:
    """Overlapping classes whose columns are correlated, with a spectrum that decays as that of learnt features does."""
    import torch

    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (rows,), generator=draw)
    means = 0.12 * torch.randn(CLASSES, columns, generator=draw)
    mix = torch.randn(columns, columns, generator=draw) / columns**0.5
    x = (torch.randn(rows, columns, generator=draw) + means[labels]) @ (mix * torch.linspace(2, 0.05, columns)[:, None])
    return x, labels


def solved(x: Any, labels: Any, tolerance: float) -> np.ndarray:
    """Objectives (R,) at all strengths, solved as one batch."""
    import torch

    from stages.fit.core import softmax
    from stages.fit.core.linear import Axes

    axes = Axes.of(x)
    l2 = torch.tensor(L2, dtype=torch.float64)
    return softmax.solve(axes.project(x), axes.moments, labels, CLASSES, l2, tolerance=tolerance, steps=5000).objective.numpy()


def gap(found: np.ndarray, optimum: np.ndarray) -> float:
    """How far above the optimum at the worst strength; below a billionth it is rounding."""
    return max(float((found - optimum).max()), 1e-9)


def ours(folder: Path, rows: int, columns: int, tolerance: float, threads: int) -> Run:
    from stages.common import process

    process.set_threads(threads)
    x, labels = data(rows, columns)
    optimum = solved(x, labels, 1e-8)
    return lambda: {"gap": gap(solved(x, labels, tolerance), optimum)}


def theirs(folder: Path, rows: int, columns: int, kind: str, tolerance: float) -> Run:
    """One fit a strength; scikit-learn's tolerance (1e-4 by default) is of the largest gradient entry."""
    import warnings

    from sklearn.linear_model import LogisticRegression

    warnings.filterwarnings("ignore")
    x, labels = data(rows, columns)
    optimum, on = solved(x, labels, 1e-8), labels.numpy()

    def run() -> dict[str, Any]:
        z = x.numpy().astype(kind)
        z = (z - z.mean(0)) / z.std(0)
        models = [LogisticRegression(C=1 / (l2 * len(z)), tol=tolerance, max_iter=5000).fit(z, on) for l2 in L2]

        def objectives() -> Iterator[float]:
            for l2, model in zip(L2, models, strict=True):
                log_p = model.predict_log_proba(z.astype("float64"))
                yield -log_p[np.arange(len(z)), on].mean() + l2 / 2 * (model.coef_.astype("float64") ** 2).sum()

        return {"gap": lambda: gap(np.array(list(objectives())), optimum)}

    return run
