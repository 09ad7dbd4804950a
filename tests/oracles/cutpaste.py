"""CutPaste pixel by pixel, densities row by row, and score maps window by window, in plain NumPy."""

from __future__ import annotations

import math

import numpy as np


def paste(x, filling, piece, target):
    """x, filling (B, C, H, W); piece, target: per picture (top, left, height, width)."""
    out = x.copy()
    for b, (source, place) in enumerate(zip(piece, target, strict=True)):
        for i in range(source[2]):
            for j in range(source[3]):
                out[b, :, place[0] + i, place[1] + j] = filling[b, :, source[0] + i, source[1] + j]
    return out


def paste_turned(x, filling, piece, centre, angle):
    """Each pixel's middle is turned back about the centre by a rotation matrix, and looked up in the upright piece."""
    out = x.copy()
    for b, (top, left, height, width) in enumerate(piece):
        back = np.array([[math.cos(-angle[b]), -math.sin(-angle[b])], [math.sin(-angle[b]), math.cos(-angle[b])]])
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                right, down = back @ np.array([j + 0.5 - centre[b][1], i + 0.5 - centre[b][0]])
                if abs(down) < height / 2 and abs(right) < width / 2:
                    row, column = math.floor(top + height / 2 + down), math.floor(left + width / 2 + right)
                    out[b, :, i, j] = filling[b, :, row, column]
    return out


def jittered(pixels, brightness, contrast):
    """The grey pixels of a piece: scaled, then drawn to or away from their own mean; cut to [0, 1] after each."""
    scaled = [min(max(p * brightness, 0.0), 1.0) for p in pixels]
    mean = sum(scaled) / len(scaled)
    return [min(max(mean + contrast * (p - mean), 0.0), 1.0) for p in scaled]


def told_apart(logits):
    """logits (V, N, V): cross entropy of each view's own index."""
    total = 0.0
    for v, items in enumerate(logits):
        for item in items:
            total += math.log(sum(math.exp(value) for value in item)) - item[v]
    return total / (len(logits) * len(logits[0]))


def half_mahalanobis(train, rows, shrinkage=0.0):
    """(f - mu)^T Sigma^-1 (f - mu) / 2 with the maximum-likelihood covariance, shrunk towards its mean variance."""
    n, d = train.shape
    mean = [sum(train[i, j] for i in range(n)) / n for j in range(d)]
    covariance = np.zeros((d, d))
    for i in range(n):
        covariance += np.outer(train[i] - mean, train[i] - mean) / n
    covariance = (1 - shrinkage) * covariance + shrinkage * sum(covariance[j, j] for j in range(d)) / d * np.eye(d)
    return np.array([(row - mean) @ np.linalg.solve(covariance, row - mean) / 2 for row in rows])


def spread(score, middles, shape, sigma):
    """score of each window by its middle (y, x): at each pixel the mean weighted by a Gaussian of the distance."""
    out = np.zeros(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            weights = [math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * sigma**2)) for y, x in middles]
            out[i, j] = sum(w * s for w, s in zip(weights, score, strict=True)) / sum(weights)
    return out


def area(odd, score):
    """The share of pairs (odd, not odd) in the right order, ties counting half."""
    won = [1.0 if a > b else 0.5 if a == b else 0.0 for a, o in zip(score, odd) if o for b, q in zip(score, odd) if not q]
    return sum(won) / len(won)
