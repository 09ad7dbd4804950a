"""Slow references for text: a transformer item by item without padding, masks by loops, metric losses by loops over triples."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

Weights = dict[str, np.ndarray]


def _linear(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-6) -> np.ndarray:
    rows = []
    for row in x:
        centred = row - row.mean()
        rows.append(centred / math.sqrt((centred**2).mean() + eps) * w[f"{name}.weight"] + w[f"{name}.bias"])
    return np.array(rows)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def transformer(symbols: list[int], w: Weights, heads: int, depth: int) -> list[np.ndarray]:
    """One item's own symbols -> each block's output (n, dim), the last one normed; pre-norm blocks."""
    t = np.array([w["symbols.weight"][s] + w["positions"][0, i] for i, s in enumerate(symbols)])
    n, dim = t.shape
    size = dim // heads
    outputs = []
    for b in range(depth):
        name = f"blocks.{b}"
        qkv = _linear(_norm(t, w, f"{name}.norm1"), w, f"{name}.qkv")
        mixed = np.zeros((n, dim))
        for h in range(heads):
            q, k, v = (qkv[:, part * dim + h * size : part * dim + (h + 1) * size] for part in range(3))
            for i in range(n):
                scores = [math.exp(float(q[i] @ k[j]) / math.sqrt(size)) for j in range(n)]
                mixed[i, h * size : (h + 1) * size] = sum(s * v[j] for j, s in enumerate(scores)) / sum(scores)
        t = t + _linear(mixed, w, f"{name}.out")
        t = t + _linear(gelu(_linear(_norm(t, w, f"{name}.norm2"), w, f"{name}.mlp.0")), w, f"{name}.mlp.2")
        outputs.append(t)
    return [*outputs[:-1], _norm(outputs[-1], w, "norm")]


def mined(z: np.ndarray, labels: list[int], margin: float) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Ordered pairs (anchor, positive), (anchor, negative) that occur in a triple with d(a, n) - d(a, p) <= margin."""
    unit = [row / math.sqrt(float(row @ row)) for row in z]
    positives, negatives = set(), set()
    for a in range(len(z)):
        for p in range(len(z)):
            for n in range(len(z)):
                if a == p or labels[a] != labels[p] or labels[a] == labels[n]:
                    continue
                to_p = math.sqrt(float((unit[a] - unit[p]) @ (unit[a] - unit[p])))
                to_n = math.sqrt(float((unit[a] - unit[n]) @ (unit[a] - unit[n])))
                if to_n - to_p <= margin:
                    positives.add((a, p))
                    negatives.add((a, n))
    return positives, negatives


def every_pair(labels: list[int]) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    both = [(a, b) for a in range(len(labels)) for b in range(len(labels)) if a != b]
    return {(a, b) for a, b in both if labels[a] == labels[b]}, {(a, b) for a, b in both if labels[a] != labels[b]}


def multi_similarity(
    z: np.ndarray,
    positives: set[tuple[int, int]],
    negatives: set[tuple[int, int]],
    alpha: float,
    beta: float,
    threshold: float,
) -> float:
    """Wang et al. 2019, eq. 15, anchor by anchor."""
    total = 0.0
    for a, row in enumerate(z):
        pull, push = 0.0, 0.0
        for b, other in enumerate(z):
            s = float(row @ other) / math.sqrt(float(row @ row) * float(other @ other))
            if (a, b) in positives:
                pull += math.exp(-alpha * (s - threshold))
            if (a, b) in negatives:
                push += math.exp(beta * (s - threshold))
        total += math.log(1 + pull) / alpha + math.log(1 + push) / beta
    return total / len(z)


def cross_entropy(h: np.ndarray, w: Weights, symbols: np.ndarray, target: list[int]) -> float:
    """BERT's head on states h (n, dim): dense, GELU, norm, and the symbols' embeddings as output weights; the mean over n."""
    inner = _norm(gelu(_linear(h, w, "head.0")), w, "head.2", 1e-6)
    total = 0.0
    for row, wanted in zip(inner, target, strict=True):
        logits = [float(row @ s) + float(b) for s, b in zip(symbols, w["bias"], strict=True)]
        most = max(logits)
        total += most + math.log(sum(math.exp(v - most) for v in logits)) - logits[wanted]
    return total / len(target)
