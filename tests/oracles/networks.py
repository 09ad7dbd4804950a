"""Slow references for backbones: NumPy and SciPy in float64 on a network's named weights, no torch layers."""

from __future__ import annotations

import math

import numpy as np
from scipy.signal import correlate2d
from scipy.special import erf

Weights = dict[str, np.ndarray]


def convolve(x: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """x (C, H, W), kernel (O, C, k, k) -> (O, H', W'): the full correlation, then every stride-th value."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    return np.stack([sum(correlate2d(c, k, "valid") for c, k in zip(x, out)) for out in kernel])[:, ::stride, ::stride]


def batch_norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    mean, var, gamma, beta = (w[f"{name}.{k}"][:, None, None] for k in ("running_mean", "running_var", "weight", "bias"))
    return (x - mean) / np.sqrt(var + 1e-5) * gamma + beta


def resnet(x: np.ndarray, w: Weights, blocks: tuple[int, ...]) -> list[np.ndarray]:
    """x (C, H, W) -> each stage's output (C_l, H_l, W_l)."""
    x = np.maximum(batch_norm(convolve(x, w["stem.0.weight"], 1, 1), w, "stem.1"), 0)
    outputs = []
    for stage, count in enumerate(blocks):
        for block in range(count):
            name, stride = f"stages.{stage}.{block}", 2 if stage and not block else 1
            y = np.maximum(batch_norm(convolve(x, w[f"{name}.residual.0.weight"], stride, 1), w, f"{name}.residual.1"), 0)
            y = batch_norm(convolve(y, w[f"{name}.residual.3.weight"], 1, 1), w, f"{name}.residual.4")
            if f"{name}.shortcut.0.weight" in w:
                x = batch_norm(convolve(x, w[f"{name}.shortcut.0.weight"], stride, 0), w, f"{name}.shortcut.1")
            x = np.maximum(x + y, 0)
        outputs.append(x)
    return outputs


def vit(x: np.ndarray, w: Weights, patch: int, heads: int, depth: int) -> list[np.ndarray]:
    """x (C, H, W) -> each block's output (tokens, dim), class token first where there is one; the last one normed."""
    dim = w["project.weight"].shape[0]
    tokens = []
    for top in range(0, x.shape[1], patch):
        for left in range(0, x.shape[2], patch):
            piece = x[:, top : top + patch, left : left + patch]
            tokens.append([np.sum(piece * k) for k in w["project.weight"]] + w["project.bias"])
    t = np.array(tokens) + w["positions"][0]
    if "cls" in w:
        t = np.concatenate([w["cls"][0], t])
    outputs = []
    for i in range(depth):
        name = f"blocks.{i}"
        q, k, v = np.split(_linear(_layer_norm(t, w, f"{name}.norm1"), w, f"{name}.qkv"), 3, axis=1)
        mixed = []
        for h in range(heads):
            at = slice(h * dim // heads, (h + 1) * dim // heads)
            scores = np.exp(q[:, at] @ k[:, at].T / math.sqrt(dim / heads))
            mixed.append(scores / scores.sum(1, keepdims=True) @ v[:, at])
        t = t + _linear(np.concatenate(mixed, 1), w, f"{name}.out")
        inner = _linear(_layer_norm(t, w, f"{name}.norm2"), w, f"{name}.mlp.0")
        t = t + _linear(inner * (1 + erf(inner / math.sqrt(2))) / 2, w, f"{name}.mlp.2")
        outputs.append(t)
    return [*outputs[:-1], _layer_norm(t, w, "norm")]


def _linear(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _layer_norm(x: np.ndarray, w: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6) * w[f"{name}.weight"] + w[f"{name}.bias"]
