"""Measures from their definitions, with loops and numpy's eigenvalues."""

from __future__ import annotations

import itertools
import math

import numpy as np


def entropy_rank(spectrum, epsilon):
    total = sum(spectrum)
    return math.exp(-sum((v / total + epsilon) * math.log(v / total + epsilon) for v in spectrum))


def rankme(x, epsilon=1e-7):
    small = x if x.shape[0] < x.shape[1] else x.T
    squares = np.linalg.eigvalsh(small @ small.T)
    return entropy_rank([math.sqrt(max(v, 0.0)) for v in squares], epsilon)


def alpha_req(x, first, last):
    n, d = x.shape
    mean = [sum(x[i, j] for i in range(n)) / n for j in range(d)]
    covariance = np.zeros((d, d))
    for i in range(n):
        covariance += np.outer(x[i] - mean, x[i] - mean) / (n - 1)
    values = sorted(np.linalg.eigvalsh(covariance), reverse=True)
    rows = [(math.log(j), math.log(values[j - 1]), 1 / j) for j in range(first, min(last, d) + 1)]
    w = sum(r[2] for r in rows)
    mx, my = sum(r[0] * r[2] for r in rows) / w, sum(r[1] * r[2] for r in rows) / w
    return -sum(r[2] * (r[0] - mx) * (r[1] - my) for r in rows) / sum(r[2] * (r[0] - mx) ** 2 for r in rows)


def lidar(x, delta, epsilon):
    n, v, d = x.shape
    means = [sum(x[i, j] for j in range(v)) / v for i in range(n)]
    grand = sum(means) / n
    between, within = np.zeros((d, d)), np.zeros((d, d))
    for i in range(n):
        between += np.outer(means[i] - grand, means[i] - grand) / (n - 1)
        for j in range(v):
            within += np.outer(x[i, j] - means[i], x[i, j] - means[i]) / (n * (v - 1))
    values, vectors = np.linalg.eigh(within + delta * np.eye(d))
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    return entropy_rank([max(e, 0.0) for e in np.linalg.eigvalsh(root @ between @ root)], epsilon)


def unit(row):
    return row / math.sqrt(sum(v * v for v in row))


def uniformity(x, t):
    values = [math.exp(-t * sum((unit(a) - unit(b)) ** 2)) for a, b in itertools.combinations(x, 2)]
    return math.log(sum(values) / len(values))


def alignment(x, alpha):
    values = []
    for views in x:
        for a, b in itertools.combinations(views, 2):
            values.append(math.sqrt(sum((unit(a) - unit(b)) ** 2)) ** alpha)
    return sum(values) / len(values)


def cka(x, y):
    """By Gram matrices and the Hilbert-Schmidt independence criterion, the other form of the definition."""
    n = len(x)
    centre = np.eye(n) - np.ones((n, n)) / n
    k, m = centre @ (x @ x.T) @ centre, centre @ (y @ y.T) @ centre

    def hsic(a, b):
        return sum(a[i, j] * b[i, j] for i in range(n) for j in range(n)) / (n - 1) ** 2

    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def knn_scores(bank, labels, queries, k, classes, temperature):
    out = []
    for q in queries:
        cosine = [float(unit(q) @ unit(b)) for b in bank]
        nearest = sorted(range(len(bank)), key=lambda i: -cosine[i])[:k]
        votes = [sum(math.exp(cosine[i] / temperature) for i in nearest if labels[i] == c) for c in range(classes)]
        out.append([v / sum(votes) for v in votes])
    return np.array(out)
