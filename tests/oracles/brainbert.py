"""BrainBERT in NumPy loops: masked runs, the content-aware loss, superlets by summing sample after sample."""

from __future__ import annotations

import math

import numpy as np


def loss(prediction: np.ndarray, target: np.ndarray, mask: np.ndarray, threshold: float) -> tuple[float, float]:
    """(B, F, T) each: the two means, cell by cell."""
    every, rare = [], []
    for cell in np.ndindex(target.shape):
        if mask[cell]:
            every.append(abs(prediction[cell] - target[cell]))
            if abs(target[cell]) > threshold:
                rare.append(every[-1])
    return tuple(math.fsum(found) / len(found) if found else 0.0 for found in (every, rare))  # type: ignore[return-value]


def runs(draw: np.ndarray, start: float, longest: int) -> tuple[list[bool], list[float], list[int]]:
    """draw (4, N): begins, length, lot, shift of each place. Walks along; a run that begins takes over from the one before."""
    n = draw.shape[1]
    hidden, lot, source = [False] * n, [0.0] * n, [0] * n
    active: list[tuple[int, int]] = []  # (first place, first place after)
    for t in range(n):
        if draw[0, t] < start:
            active.append((t, t + 1 + int(draw[1, t] * longest)))
        over = [run for run in active if run[1] > t]
        if over:
            first = over[-1][0]
            hidden[t], lot[t] = True, float(draw[2, first])
            source[t] = (t + 1 + int(draw[3, first] * (n - 1))) % n
    return hidden, lot, source


def superlet(x: np.ndarray, hz: float, rate: float, cycles: list[float]) -> np.ndarray:
    """x (T,) -> (T,): the product over wavelets of their magnitudes, to the power of one over their number."""
    out = np.ones(len(x))
    for c in cycles:
        spread = c / (5 * hz)
        for t in range(len(x)):
            total = 0j
            for s in range(len(x)):
                lag = (t - s) / rate
                if abs(lag) <= 4 * spread:
                    wave = math.exp(-(lag**2) / (2 * spread**2)) / (spread * math.sqrt(2 * math.pi) * rate)
                    total += x[s] * wave * complex(math.cos(2 * math.pi * hz * lag), math.sin(2 * math.pi * hz * lag))
            out[t] *= math.sqrt(2) * abs(total)
    return out ** (1 / len(cycles))
