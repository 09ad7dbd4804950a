"""Slow references for events: decoding row by row, the views' stretches, the GRU, and the losses, in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Rows = list[list[dict[str, Any]]]


def decoded(rows: Rows, length: int, codes: list[str], keep: str) -> tuple[np.ndarray, list[int]]:
    """Event by event."""
    data, lengths = np.zeros((len(rows), length, 3), np.float32), []
    for i, row in enumerate(rows):
        events = []
        for j, event in enumerate(row):
            since = 0.0 if j == 0 else event["time"] - row[j - 1]["time"]
            place = 2 + codes.index(event["code"]) if event["code"] in codes else 1
            events.append((since, place, math.nan if event["value"] is None else event["value"]))
        events = events[-length:] if keep == "last" else events[:length]
        lengths.append(len(events))
        for j, event in enumerate(events):
            data[i, j] = event
    return data, lengths


def gru(x: np.ndarray, w_in: np.ndarray, w_state: np.ndarray, b_in: np.ndarray, b_state: np.ndarray) -> np.ndarray:
    """x (T, F) -> states (T, D). Cho et al. 2014, with the reset gate applied after the product, as torch's cuDNN form does."""
    d = w_state.shape[1]
    h, found = np.zeros(d), []
    for step in x:
        a, b = w_in @ step + b_in, w_state @ h + b_state
        reset, update = 1 / (1 + np.exp(-(a[:d] + b[:d]))), 1 / (1 + np.exp(-(a[d : 2 * d] + b[d : 2 * d])))
        new = np.tanh(a[2 * d :] + reset * b[2 * d :])
        h = (1 - update) * new + update * h
        found.append(h)
    return np.array(found)


def margin_contrastive(h: np.ndarray, entity: list[int], margin: float, negatives: int) -> tuple[float, float, float]:
    """Pair by pair."""
    z = [v / np.linalg.norm(v) for v in h.astype(np.float64)]
    positive, negative = [], []
    for i, a in enumerate(z):
        far = []
        for j, b in enumerate(z):
            distance = float(np.linalg.norm(a - b))
            if entity[i] == entity[j] and i != j:
                positive.append(distance**2 / 2)
            elif entity[i] != entity[j]:
                far.append(distance)
        negative += [max(0.0, margin - d) ** 2 / 2 for d in sorted(far)[:negatives]]
    return float(np.mean(positive)), float(np.mean(negative)), float(np.mean(positive + negative))


def siglip(f: np.ndarray, g: np.ndarray, temperature: float, bias: float) -> float:
    """Zhai et al. 2023, eq. 1, pair by pair."""
    total = 0.0
    for i, a in enumerate(f.astype(np.float64)):
        for j, b in enumerate(g.astype(np.float64)):
            logit = temperature * float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b)) + bias
            total += math.log1p(math.exp(-logit if i == j else logit))
    return total / len(f)


def reconstruction(
    logits: np.ndarray, value: np.ndarray, since: np.ndarray, x: np.ndarray, lengths: list[int]
) -> tuple[float, float, float]:
    """Event by event."""
    code, values, waits = [], [], []
    for i, length in enumerate(lengths):
        for t in range(length):
            row = logits[i, t].astype(np.float64)
            code.append(float(np.log(np.exp(row).sum()) - row[int(x[i, 1, t])]))
            if x[i, 3, t]:
                values.append(float(value[i, t] - x[i, 2, t]) ** 2)
            if t:
                waits.append(float(since[i, t] - x[i, 0, t]) ** 2)
    return float(np.mean(code)), float(np.mean(values)) if values else 0.0, float(np.mean(waits)) if waits else 0.0


def compensated(times: np.ndarray, types: np.ndarray, marks: np.ndarray, matrix: np.ndarray, decay: float) -> list[float]:
    """The integral of a Hawkes process' whole intensity from each event to the next: exponential of mean 1 if it is one.

    Brown et al. 2002, the time-rescaling theorem. Base rates sum to 1.
    """
    found, last = [], 0.0
    for n, now in enumerate(times):
        total = now - last
        for i in range(n):
            weight = float(matrix[:, types[i]].sum() * marks[i])
            total += weight * (math.exp(-decay * (last - times[i])) - math.exp(-decay * (now - times[i])))
        found.append(total)
        last = now
    return found
