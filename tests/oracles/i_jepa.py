"""Slow references of I-JEPA: masks cell by cell in Python's whole numbers, networks in NumPy, losses number by number."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

from tests.oracles import splitmix

Weights = dict[str, np.ndarray]
Cells = list[tuple[int, int]]


def stream(*words: int) -> int:
    state = 0
    for word in words:
        state = splitmix.mix(((state ^ word) + splitmix.GAMMA) & splitmix.MASK)
    return state


def uniform(state: int, n: int) -> list[float]:
    return [(word >> 40) / 2**24 for word in splitmix.sequence(state, n)]


def block(top: int, left: int, height: int, width: int) -> Cells:
    return [(r, c) for r in range(top, top + height) for c in range(left, left + width)]


def lengths(patches: float, ratio: float, rows: int, columns: int) -> tuple[int, int]:
    """height / width is `ratio`, height * width is `patches`, each to the nearest whole number within the grid."""
    height, width = round((patches * ratio) ** 0.5), round((patches / ratio) ** 0.5)
    return max(1, min(rows, height)), max(1, min(columns, width))


def multiblock(
    seed: int, epoch: int, samples: list[int], rows: int, columns: int, count: int, least: int, attempts: int
) -> tuple[list[Cells], list[list[Cells]]]:
    """Contexts and targets of the paper's areas and ratios, as cells (row, column); contexts as sets in the order kept."""
    size, shape, wide = uniform(stream(seed, epoch, samples[0], 0x536964), 3)
    n = rows * columns
    th, tw = lengths((0.15 + size * 0.05) * n, 0.75 + shape * 0.75, rows, columns)
    ch, cw = lengths((0.85 + wide * 0.15) * n, rows / columns, rows, columns)
    contexts, targets, corners = [], [], []
    for sample in samples:
        u = uniform(stream(seed, epoch, sample, 0x506C61), attempts * 2 * (count + 1) + 2)
        corners.append((u[-2] < 0.5, u[-1] < 0.5))
        tried = []
        for attempt in range(attempts):
            at = u[attempt * 2 * (count + 1) : (attempt + 1) * 2 * (count + 1)]
            places = list(zip(at[::2], at[1::2]))
            seen = block(int(places[0][0] * (rows - ch + 1)), int(places[0][1] * (columns - cw + 1)), ch, cw)
            sets = [block(int(y * (rows - th + 1)), int(x * (columns - tw + 1)), th, tw) for y, x in places[1:]]
            tried.append(([cell for cell in seen if not any(cell in s for s in sets)], sets))
        kept = next((t for t in tried if len(t[0]) >= least), max(tried, key=lambda t: len(t[0])))
        contexts.append(kept[0])
        targets.append(kept[1])
    smallest = min(len(c) for c in contexts)
    cut = []
    for cells, (up, back) in zip(contexts, corners):
        turned = sorted(cells, key=lambda cell: (-cell[0] if up else cell[0], -cell[1] if back else cell[1]))
        cut.append(turned[:smallest])
    return cut, targets


def predictor(h: np.ndarray, context: Cells, asked: Cells, w: Weights, heads: int, depth: int) -> np.ndarray:
    """h (M, width) at the context's cells -> (T, out) at the cells asked for, of one item and one set of targets."""
    dim = len(w["mask"])
    tokens = [w["map.weight"] @ x + w["map.bias"] + position(cell, dim) for x, cell in zip(h, context)]
    t = np.array(tokens + [w["mask"] + position(cell, dim) for cell in asked])
    for i in range(depth):
        t = t + _attention(_norm(t, w, f"blocks.{i}.norm1"), w, f"blocks.{i}", heads)
        inner = _linear(_norm(t, w, f"blocks.{i}.norm2"), w, f"blocks.{i}.mlp.0")
        t = t + _linear(inner * (1 + erf(inner / math.sqrt(2))) / 2, w, f"blocks.{i}.mlp.2")
    return _linear(_norm(t[len(context) :], w, "norm"), w, "out")


def position(cell: tuple[int, int], dim: int) -> np.ndarray:
    """sin and cos of the row, then of the column, at dim / 4 frequencies from 1 to 10000^-(1 - 4 / dim)."""
    quarter = dim // 4
    found = []
    for p in cell:
        angles = [p / 10000 ** (i / quarter) for i in range(quarter)]
        found += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return np.array(found)


def normed(h: np.ndarray) -> np.ndarray:
    """Each row of h (N, D) less its mean, by its deviation."""
    return np.array([[(v - np.mean(row)) / math.sqrt(np.var(row) + 1e-6) for v in row] for row in h])


def pixels(x: np.ndarray, patch: tuple[int, int]) -> np.ndarray:
    """x (C, H, W) -> (N, C * patch): channel by channel, row by row of each patch, normalised with n - 1."""
    found = []
    for top in range(0, x.shape[1], patch[0]):
        for left in range(0, x.shape[2], patch[1]):
            values = [x[c, top + i, left + j] for c in range(len(x)) for i in range(patch[0]) for j in range(patch[1])]
            mean = sum(values) / len(values)
            variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
            found.append([(v - mean) / math.sqrt(variance + 1e-6) for v in values])
    return np.array(found)


def distance(a: np.ndarray, b: np.ndarray, kind: str) -> float:
    total = 0.0
    for x, y in zip(a.ravel(), b.ravel(), strict=True):
        d = abs(x - y)
        total += d * d if kind == "l2" else 0.5 * d * d if d < 1 else d - 0.5
    return total / a.size


def _attention(x: np.ndarray, w: Weights, name: str, heads: int) -> np.ndarray:
    q, k, v = np.split(_linear(x, w, f"{name}.qkv"), 3, axis=1)
    step = q.shape[1] // heads
    mixed = []
    for s in (slice(h * step, (h + 1) * step) for h in range(heads)):
        weight = np.exp(q[:, s] @ k[:, s].T / math.sqrt(step))
        mixed.append(weight / weight.sum(1, keepdims=True) @ v[:, s])
    return _linear(np.concatenate(mixed, 1), w, f"{name}.out")


def _linear(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return normed(x) * w[f"{name}.weight"] + w[f"{name}.bias"]
