"""Slow references of SIE and of rendered views: loops over items, dimensions, faces and pixels."""

from __future__ import annotations

import math

import numpy as np


def variance(z: np.ndarray) -> float:
    """Mean over columns of max(0, 1 - sqrt(Var + 1e-4)), Var with N - 1."""
    n, d = z.shape
    total = 0.0
    for j in range(d):
        mean = sum(float(v) for v in z[:, j]) / n
        total += max(0.0, 1 - math.sqrt(sum((float(v) - mean) ** 2 for v in z[:, j]) / (n - 1) + 1e-4))
    return total / d


def covariance(z: np.ndarray) -> float:
    """Squared off-diagonal covariances, over D."""
    n, d = z.shape
    means = [sum(float(v) for v in z[:, j]) / n for j in range(d)]
    total = 0.0
    for i in range(d):
        for j in range(d):
            if i != j:
                total += (sum((float(z[k, i]) - means[i]) * (float(z[k, j]) - means[j]) for k in range(n)) / (n - 1)) ** 2
    return total / d


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean squared difference."""
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True)) / a.size


def predicted(maps: np.ndarray, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """A(z) x item by item: the matrix is made whole, then applied."""
    rows = []
    for item, turn in zip(x, z, strict=True):
        matrix = np.zeros((len(item), len(item)))
        for k in range(4):
            matrix = matrix + turn[k] * maps[k]
        rows.append([sum(matrix[i, j] * item[j] for j in range(len(item))) for i in range(len(item))])
    return np.array(rows)


def nearest_face(vertices: np.ndarray, triangles: np.ndarray, side: int, fills: float) -> tuple[np.ndarray, np.ndarray]:
    """(face, depth) per pixel: a 3 x 3 system for each triangle and pixel's middle."""
    face, depth = np.full((side, side), -1), np.full((side, side), -np.inf)
    for row in range(side):
        for column in range(side):
            x = (2 * (column + 0.5) / side - 1) / fills
            y = -(2 * (row + 0.5) / side - 1) / fills
            for number, corners in enumerate(triangles):
                places = vertices[corners]
                system = np.vstack([places[:, 0], places[:, 1], np.ones(3)])
                if abs(np.linalg.det(system)) < 1e-9:
                    continue
                weights = np.linalg.solve(system, [x, y, 1.0])
                z = float(weights @ places[:, 2])
                if weights.min() >= 0 and z > depth[row, column]:
                    face[row, column], depth[row, column] = number, z
    return face, depth


def r2(predicted: np.ndarray, target: np.ndarray) -> float:
    """Mean over columns of 1 - SS_res / SS_tot."""
    found = []
    for j in range(target.shape[1]):
        mean = target[:, j].mean()
        found.append(1 - ((target[:, j] - predicted[:, j]) ** 2).sum() / ((target[:, j] - mean) ** 2).sum())
    return float(np.mean(found))
