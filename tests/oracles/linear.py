"""Linear heads from their definitions: the probe's objective row by row, ridge by its normal equations."""

from __future__ import annotations

import math

import numpy as np


def standardise(x, train):
    mean = train.mean(0)
    std = np.sqrt(((train - mean) ** 2).mean(0))
    std[std == 0] = 1
    return (x - mean) / std


def softmax_objective(x, labels, weights, bias, l2):
    """Mean cross entropy + l2 / 2 |W|^2 for x (N, D), weights (C, D), bias (C,)."""
    total = 0.0
    for row, label in zip(x, labels, strict=True):
        logits = [float(row @ w) + b for w, b in zip(weights, bias, strict=True)]
        top = max(logits)
        total += top + math.log(sum(math.exp(v - top) for v in logits)) - logits[label]
    return total / len(x) + l2 / 2 * float((weights**2).sum())


def ridge(x, y, l2):
    """w (D,) and b of mean (y - x w - b)^2 + l2 |w|^2, by its normal equations with the intercept as a column."""
    n, d = x.shape
    wide = np.hstack([x, np.ones((n, 1))])
    penalty = np.diag([l2 * n] * d + [0.0])
    solution = np.linalg.solve(wide.T @ wide + penalty, wide.T @ y)
    return solution[:d], solution[d]
