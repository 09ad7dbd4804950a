"""Radio channels, sample by sample: phases taken out, runs of subcarriers resized, Rayleigh densities."""

from __future__ import annotations

import cmath
import math

import numpy as np


def levelled(h, numbers):
    """h (A, K) complex: mean slope over neighbouring subcarriers, then mean phase, taken out."""
    turn = sum(
        h[a][k + 1] * h[a][k].conjugate()
        for a in range(len(h))
        for k in range(len(numbers) - 1)
        if numbers[k + 1] - numbers[k] == 1
    )
    b = cmath.phase(turn)
    straight = [[v * cmath.exp(-1j * b * n) for v, n in zip(row, numbers)] for row in h]
    a = cmath.phase(sum(v for row in straight for v in row))
    return np.array([[v * cmath.exp(-1j * a) for v in row] for row in straight])


def resized(row, length):
    """row (w,) at `length` points, linearly, sample centres at (i + 0.5) / w."""
    out, w = [], len(row)
    for i in range(length):
        at = min(max((i + 0.5) * w / length - 0.5, 0), w - 1)
        low = math.floor(at)
        high = min(low + 1, w - 1)
        out.append(row[low] + (at - low) * (row[high] - row[low]))
    return out


def run(x, start, width, length):
    """x (B, C, K), start (B,) in [0, 1)."""
    found = []
    for item, u in zip(x, start):
        first = math.floor((len(item[0]) - width) * u)
        found.append([resized(list(row[first : first + width]), length) for row in item])
    return np.array(found)


def rayleigh(m, sigma):
    return np.array([[[v / s**2 * math.exp(-(v**2) / (2 * s**2)) for v in row] for row in item] for item, s in zip(m, sigma)])
