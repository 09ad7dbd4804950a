"""Slow reference of DIET's loss: logits, softmax and smoothed targets number by number."""

from __future__ import annotations

import math

import numpy as np


def instance_cross_entropy(h: np.ndarray, weight: np.ndarray, index: list[int], smoothing: float) -> float:
    """h (B, D), weight (N, D): the mean over items of the cross entropy between the smoothed target and softmax(W h)."""
    count, total = len(weight), 0.0
    for row, own in zip(h.tolist(), index):
        logits = [sum(a * b for a, b in zip(row, column)) for column in weight.tolist()]
        partition = sum(math.exp(logit) for logit in logits)
        for k, logit in enumerate(logits):
            target = smoothing / count + (1 - smoothing if k == own else 0.0)
            total -= target * math.log(math.exp(logit) / partition)
    return total / len(index)


def entropy(count: int, smoothing: float) -> float:
    """The entropy of a smoothed target over `count` classes: the least that the loss can be."""
    own, other = 1 - smoothing + smoothing / count, smoothing / count
    return -own * math.log(own) - ((count - 1) * other * math.log(other) if other else 0.0)
