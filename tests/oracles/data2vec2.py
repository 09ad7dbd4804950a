"""Slow references of data2vec 2.0 and MAE: masks cell by cell in whole numbers, targets and decoders by loops, in NumPy."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

from tests.oracles import splitmix

Weights = dict[str, np.ndarray]


def stream(*words: int) -> int:
    state = 0
    for word in words:
        state = splitmix.mix(((state ^ word) + splitmix.GAMMA) & splitmix.MASK)
    return state


def ranks(words: list[int]) -> list[int]:
    """Which place each word has in ascending order, as signed numbers."""
    signed = [w - (1 << 64) if w >= 1 << 63 else w for w in words]
    order = sorted(range(len(words)), key=lambda i: signed[i])
    return [order.index(i) for i in range(len(words))]


def inverse_blocks(opening: int, within: int, rows: int, columns: int, hidden: float, side: int, own: list[bool]) -> list[bool]:
    """Opens block after block until enough of an item's own patches are visible. opening, within: states of the two draws."""
    tall, wide = min(side, rows), min(side, columns)
    places = [(top, left) for top in range(1 - tall, rows) for left in range(1 - wide, columns)]
    turn = ranks(splitmix.sequence(opening, len(places)))
    order = [place for _, place in sorted(zip(turn, places))]
    tie = ranks(splitmix.sequence(within, rows * columns))
    n = sum(own)
    count = min(max(n - round(hidden * n), 1), max(n - 1, 1))
    seen: list[int] = []
    for top, left in order:
        block = [(r, c) for r in range(top, top + tall) for c in range(left, left + wide) if 0 <= r < rows and 0 <= c < columns]
        new = [r * columns + c for r, c in block if own[r * columns + c] and r * columns + c not in seen]
        seen += sorted(new, key=lambda i: tie[i])[: count - len(seen)]
    return [i in seen for i in range(rows * columns)]


def targets(layers: list[np.ndarray], own: np.ndarray, norm: str, norm_targets: bool) -> np.ndarray:
    """Of one item: layers of (N, D), own (N,) bool -> (N, D)."""
    n, d = layers[0].shape
    mean = np.zeros((n, d))
    for h in layers:
        for t in range(n):
            for f in range(d):
                values = [h[s, f] for s in range(n) if own[s]] if norm == "instance" else list(h[t])
                centre = sum(values) / len(values)
                variance = sum((v - centre) ** 2 for v in values) / len(values)
                mean[t, f] += (h[t, f] - centre) / math.sqrt(variance + 1e-5) / len(layers)
    if norm_targets:
        mean = layer_norm(mean)
    return np.where(own[:, None], mean, 0.0)


def layer_norm(h: np.ndarray) -> np.ndarray:
    return (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-5)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def decoder(h: np.ndarray, own: np.ndarray, grid: tuple[int, int], w: Weights, layers: int, groups: int) -> np.ndarray:
    """Of one item: h (N, width) -> (N, width), every convolution patch by patch; a sequence is a grid of one row."""
    rows, columns = grid
    h = np.where(own[:, None], h, 0.0)
    for layer in range(layers):
        kernel, bias = w[f"layers.{layer}.weight"], w[f"layers.{layer}.bias"]
        if kernel.ndim == 3:
            kernel = kernel[:, :, None]
        out, each, tall, wide = kernel.shape
        new = np.zeros((len(h), out))
        for r in range(rows):
            for c in range(columns):
                for o in range(out):
                    first = o // (out // groups) * each  # of the group's inputs
                    total = bias[o]
                    for i in range(tall):
                        for j in range(wide):
                            row, column = r + i - tall // 2, c + j - wide // 2
                            if 0 <= row < rows and 0 <= column < columns:
                                total += float(kernel[o, :, i, j] @ h[row * columns + column, first : first + each])
                    new[r * columns + c, o] = total
        new = np.where(own[:, None], gelu(layer_norm(new)), 0.0)
        h = h + new if new.shape == h.shape else new
    return h @ w["out.weight"].T + w["out.bias"]
