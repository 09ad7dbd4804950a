"""Slow references for masked prediction over mel frames: NumPy and loops in float64 on named weights."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf

Weights = dict[str, np.ndarray]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def linear(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layer_norm(x: np.ndarray, w: Weights, name: str, eps: float = 1e-6) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps) * w[f"{name}.weight"] + w[f"{name}.bias"]


def mel_transformer(x: np.ndarray, w: Weights, stride: int, heads: int, depth: int) -> list[np.ndarray]:
    """One item's own frames x (F, T), no padding -> each block's output (N, dim), the last one normed."""
    kernel = w["convolution.weight"]  # (dim, F, k)
    half = kernel.shape[2] // 2
    padded = np.pad(x, ((0, 0), (half, half)))
    tokens = []
    for at in range(0, x.shape[1], stride):
        piece = padded[:, at : at + kernel.shape[2]]
        tokens.append([float((piece * k).sum()) for k in kernel] + w["convolution.bias"])
    h = linear(layer_norm(gelu(np.array(tokens)), w, "norm0", 1e-5), w, "project")
    n, dim = h.shape
    for p in range(n):
        for i in range(dim // 2):
            angle = p * 10000.0 ** (-2 * i / dim)
            h[p, i] += math.sin(angle)
            h[p, dim // 2 + i] += math.cos(angle)
    found = []
    for i in range(depth):
        name = f"blocks.{i}"
        q, k, v = np.split(linear(layer_norm(h, w, f"{name}.norm1"), w, f"{name}.qkv"), 3, axis=1)
        mixed = []
        for head in range(heads):
            at_head = slice(head * dim // heads, (head + 1) * dim // heads)
            weight = np.exp(q[:, at_head] @ k[:, at_head].T / math.sqrt(dim / heads))
            mixed.append(weight / weight.sum(1, keepdims=True) @ v[:, at_head])
        h = h + linear(np.concatenate(mixed, 1), w, f"{name}.out")
        h = h + linear(gelu(linear(layer_norm(h, w, f"{name}.norm2"), w, f"{name}.mlp.0")), w, f"{name}.mlp.2")
        found.append(h)
    return [*found[:-1], layer_norm(found[-1], w, "norm")]


def prediction(o: np.ndarray, codes: np.ndarray, unit: np.ndarray, temperature: float) -> float:
    """HuBERT, eq. 3, token by token."""
    total = 0.0
    for row, target in zip(o, unit, strict=True):
        logits = [float(row @ c / np.linalg.norm(row) / np.linalg.norm(c)) / temperature for c in codes]
        total += math.log(sum(math.exp(v) for v in logits)) - logits[target]
    return total / len(o)


def spans(uniform: np.ndarray, own: np.ndarray, start: float, span: int) -> np.ndarray:
    """Item by item, token by token."""
    out = np.zeros(own.shape, bool)
    for b in range(len(own)):
        places = np.flatnonzero(own[b])
        begins = [t for t in places if uniform[b, t] < start]
        begins.append(min(places, key=lambda t: uniform[b, t]))
        for t in begins:
            out[b, t : t + span] = True
    return out & own


def mfcc(mel: np.ndarray, count: int) -> np.ndarray:
    """One item's own frames (T, F) -> (T, 3 count)."""
    frames, bands = mel.shape
    cepstra = np.zeros((frames, count))
    for t in range(frames):
        for k in range(count):
            cepstra[t, k] = math.sqrt(2 / bands) * sum(
                mel[t, f] * math.cos(math.pi * k * (f + 0.5) / bands) for f in range(bands)
            )
    first = slope(cepstra)
    return np.concatenate([cepstra, first, slope(first)], 1)


def slope(h: np.ndarray) -> np.ndarray:
    out = np.zeros_like(h)
    last = len(h) - 1
    for t in range(len(h)):
        for n in (1, 2):
            out[t] += n * (h[min(t + n, last)] - h[max(t - n, 0)]) / 10
    return out


def lloyd(x: np.ndarray, centres: np.ndarray, rounds: int) -> np.ndarray:
    """Rows to their nearest centres, centres to the means of their rows; a centre without rows stays."""
    for _ in range(rounds):
        unit = [min(range(len(centres)), key=lambda c: float(((row - centres[c]) ** 2).sum())) for row in x]
        mean = [x[[u == c for u in unit]] for c in range(len(centres))]
        centres = np.array([m.mean(0) if len(m) else old for m, old in zip(mean, centres, strict=True)])
    return centres
