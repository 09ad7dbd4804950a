"""Units chosen one after another by plain loops, each regression by SciPy's own optimiser."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs in which the positive item scores higher; ties count half."""
    wins = [float(p > q) + 0.5 * float(p == q) for p in score[positive] for q in score[~positive]]
    return float(np.mean(wins))


def regression(z: np.ndarray, y: np.ndarray, l2: float) -> tuple[np.ndarray, float, float]:
    """Weights (k,), bias and objective of mean cross entropy + l2 / 2 |w|^2."""

    def value(theta: np.ndarray) -> float:
        logit = z @ theta[:-1] + theta[-1]
        return float(np.mean(np.logaddexp(0, logit) - y * logit) + l2 / 2 * (theta[:-1] ** 2).sum())

    found = minimize(value, np.zeros(z.shape[1] + 1), method="BFGS", options={"gtol": 1e-9})
    return found.x[:-1], float(found.x[-1]), float(found.fun)


def chosen(x: np.ndarray, y: np.ndarray, k: int, candidates: int, l2: float) -> list[int]:
    """Columns of x in the order in which they are chosen."""
    z = (x - x.mean(0)) / x.std(0)
    apart = [abs(area(z[:, c], y == 1) - 0.5) for c in range(x.shape[1])]
    left = sorted(range(x.shape[1]), key=lambda c: -apart[c])[:candidates]
    units: list[int] = []
    for _ in range(k):
        best = min((c for c in left if c not in units), key=lambda c: regression(z[:, [*units, c]], y, l2)[2])
        units.append(best)
    return units
