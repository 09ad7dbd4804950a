"""DINO's loss, centre and schedules, term by term in NumPy."""

from __future__ import annotations

import math

import numpy as np


def softmax(row):
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


def cross_entropy(student, teacher, centre, temperature, teacher_temperature):
    """student, teacher: lists of views (N, K). Algorithm 1, written out over pairs, items and outputs."""
    total, pairs = 0.0, 0
    for t in range(len(teacher)):
        for s in range(len(student)):
            if s == t:
                continue
            pairs += 1
            for i in range(len(teacher[t])):
                p = softmax([(v - c) / teacher_temperature for v, c in zip(teacher[t][i], centre)])
                q = softmax([v / temperature for v in student[s][i]])
                total -= sum(a * math.log(b) for a, b in zip(p, q)) / len(teacher[t])
    return total / pairs


def centred(centre, teacher, momentum):
    """Eq. 4: a running mean over all items of all views, one at a time."""
    rows = [row for view in teacher for row in view]
    return [momentum * c + (1 - momentum) * sum(row[k] for row in rows) / len(rows) for k, c in enumerate(centre)]


def entropy(teacher, centre, temperature):
    rows = [softmax([(v - c) / temperature for v, c in zip(row, centre)]) for view in teacher for row in view]
    mean = np.mean(rows, 0)
    return -sum(p * math.log(p) for p in mean if p > 0)


def head(h, weights, layers):
    """One row h (D,) through linear maps with GELU, to unit length, then its cosine with each row of `last`."""
    x = h
    for i in range(layers):
        x = weights[f"mlp.{2 * i}.weight"] @ x + weights[f"mlp.{2 * i}.bias"]
        if i < layers - 1:
            x = np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in x])
    x = x / math.sqrt(sum(v * v for v in x))
    return np.array([row @ x / math.sqrt(row @ row) for row in weights["last"]])
