"""Slow references of the self-supervised losses: plain loops over pairs and columns, written from the papers' formulas."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np


def nt_xent(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    """Chen et al. 2020, eq. 1 and algorithm 1: views 2k-1 and 2k are a pair."""
    z = []
    for first, second in zip(a, b):
        z += [first, second]
    total = 0.0
    for i, zi in enumerate(z):
        j = i + 1 if i % 2 == 0 else i - 1
        similarity = [float(zi @ zk) / (math.sqrt(float(zi @ zi)) * math.sqrt(float(zk @ zk))) for zk in z]
        denominator = sum(math.exp(s / temperature) for k, s in enumerate(similarity) if k != i)
        total += -math.log(math.exp(similarity[j] / temperature) / denominator)
    return total / len(z)


def info_nce(query: np.ndarray, key: np.ndarray, negatives: np.ndarray, temperature: float) -> float:
    """He et al. 2020, eq. 1, item by item."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    total = 0.0
    for q, k in zip(query, key):
        positive = math.exp(cosine(q, k) / temperature)
        total -= math.log(positive / (positive + sum(math.exp(cosine(q, n) / temperature) for n in negatives)))
    return total / len(query)


def vicreg(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Bardes et al. 2022, eq. 1 to 5, with the averages that the authors' code takes."""
    n, d = a.shape
    distance = sum((a[i, j] - b[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    hinge, off_diagonal = 0.0, 0.0
    for z in (a, b):
        means = [sum(z[:, j]) / n for j in range(d)]
        for j in range(d):
            variance = sum((z[i, j] - means[j]) ** 2 for i in range(n)) / (n - 1)
            hinge += max(0.0, 1 - math.sqrt(variance + 1e-4)) / d / 2
            for k in range(d):
                if k != j:
                    c = sum((z[i, j] - means[j]) * (z[i, k] - means[k]) for i in range(n)) / (n - 1)
                    off_diagonal += c * c / d
    return {"invariance": distance, "variance": hinge, "covariance": off_diagonal}


def epps_pulley_whole_line(x: np.ndarray) -> float:
    """The closed form of the integral over the whole line (BHEP statistic with d = 1, beta = 1; Henze and Zirkler 1990)."""
    n = len(x)
    pairs = sum(math.exp(-((a - b) ** 2) / 2) for a in x for b in x) / n**2
    single = sum(math.exp(-(a**2) / 4) for a in x) / n
    return math.sqrt(2 * math.pi) * n * (pairs - math.sqrt(2) * single + 1 / math.sqrt(3))


def epps_pulley(x: np.ndarray, knots: int, reach: float) -> float:
    """Trapezoids over [-reach, reach] with complex numbers, point by point."""
    points = [reach * k / (knots - 1) for k in range(-(knots - 1), knots)]
    values = []
    for t in points:
        ecf = sum(complex(math.cos(t * v), math.sin(t * v)) for v in x) / len(x)
        values.append(abs(ecf - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))
    step = points[1] - points[0]
    return len(x) * sum((u + v) / 2 * step for u, v in pairwise(values))


def to_mean(z: np.ndarray) -> float:
    """Mean over views, items and dimensions of the squared distance to the mean of the views; z (V, N, D)."""
    views, items, dimensions = z.shape
    total = 0.0
    for i in range(items):
        for j in range(dimensions):
            mean = sum(z[v, i, j] for v in range(views)) / views
            total += sum((mean - z[v, i, j]) ** 2 for v in range(views))
    return total / (views * items * dimensions)
