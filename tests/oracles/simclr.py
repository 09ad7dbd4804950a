"""Slow references of what SimCLR puts around its loss: the projector, one neuron at a time, and the LARS optimiser."""

from __future__ import annotations

import math

import numpy as np

Arrays = dict[str, np.ndarray]


def projected(h: np.ndarray, w: Arrays, kind: str) -> np.ndarray:
    """h (N, D) -> z (N, out) in training. Chen et al. 2020, sec. 4.2 and app. B.1: z = W2 relu(BN(W1 h)) + b, or W h + b."""
    if kind == "none":
        return h
    if kind == "linear":
        return _linear(h, w["0.weight"], w["0.bias"])
    inner = _linear(h, w["0.weight"], np.zeros(len(w["0.weight"])))
    for j in range(inner.shape[1]):
        mean = sum(inner[:, j]) / len(inner)
        variance = sum((v - mean) ** 2 for v in inner[:, j]) / len(inner)
        for i in range(len(inner)):
            normed = (inner[i, j] - mean) / math.sqrt(variance + 1e-5)
            inner[i, j] = max(0.0, normed * w["1.weight"][j] + w["1.bias"][j])
    return _linear(inner, w["3.weight"], w["3.bias"])


def _linear(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return np.array([[sum(a * b for a, b in zip(row, out)) + c for out, c in zip(weight, bias)] for row in x])


class Lars:
    """You, Gitman and Ginsburg 2017, algorithm 1, weight by weight; what SimCLR leaves out of it (biases, batch norm) by name.

    SimCLR, sec. 2.2 and app. B: trust 0.001, momentum 0.9, weight decay 1e-6; plain momentum for what is left out.
    """

    def __init__(self, weights: Arrays, left_out: set[str], momentum: float, decay: float, trust: float = 0.001) -> None:
        self.w, self.left_out = {n: w.copy() for n, w in weights.items()}, left_out
        self.v = {n: np.zeros(w.size) for n, w in weights.items()}
        self.momentum, self.decay, self.trust = momentum, decay, trust

    def step(self, gradients: Arrays, lr: float) -> None:
        for name, w in self.w.items():
            flat, g, v = w.reshape(-1), gradients[name].reshape(-1), self.v[name]
            decay, local = (0.0, 1.0) if name in self.left_out else (self.decay, self._local(flat, g))
            for i in range(len(flat)):
                v[i] = self.momentum * v[i] + lr * local * (g[i] + decay * flat[i])
                flat[i] -= v[i]

    def _local(self, w: np.ndarray, g: np.ndarray) -> float:
        weight, gradient = math.sqrt(sum(v * v for v in w)), math.sqrt(sum(v * v for v in g))
        return self.trust * weight / (gradient + self.decay * weight)
