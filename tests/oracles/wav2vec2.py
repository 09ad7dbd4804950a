"""Slow references for wav2vec 2.0 and speech recognition: loops over items, frames and symbols, from the papers."""

from __future__ import annotations

import itertools
import math

import numpy as np


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))


def contrastive(c: np.ndarray, q: np.ndarray, other: list[int], t: int, temperature: float, left_out: set[int]) -> float:
    """Baevski et al. 2020, eq. 3, of frame t of one item: c, q (L, D); distractors by position, without those left out."""
    candidates = [t, *(j for j in other if j not in left_out)]
    weights = [math.exp(cosine(c[t], q[j]) / temperature) for j in candidates]
    return -math.log(weights[0] / sum(weights))


def entropies(probabilities: np.ndarray) -> list[float]:
    """Of the mean over M rows of probabilities (M, G, V): one per codebook."""
    m, groups, entries = probabilities.shape
    found = []
    for g in range(groups):
        means = [sum(probabilities[i, g, v] for i in range(m)) / m for v in range(entries)]
        found.append(-sum(p * math.log(p) for p in means if p > 0))
    return found


def diversity(probabilities: np.ndarray, form: str) -> float:
    """Eq. 4 (entropy), or the same by perplexities."""
    _, groups, entries = probabilities.shape
    if form == "entropy":
        return -sum(entropies(probabilities)) / (groups * entries)
    return (groups * entries - sum(math.exp(h) for h in entropies(probabilities))) / (groups * entries)


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = [math.exp(v - max(logits)) for v in logits]
    return np.array(weights) / sum(weights)


def covered(starts: list[int], length: int, n: int) -> list[bool]:
    """Which of n steps lie within `length` steps of a start."""
    return [any(s <= t < s + length for s in starts) for t in range(n)]


def frames(samples: int, kernels: list[int], strides: list[int]) -> int:
    """Positions at which a window fits, layer by layer, counted one by one."""
    for kernel, stride in zip(kernels, strides):
        samples = sum(1 for start in range(0, samples, stride) if start + kernel <= samples)
    return samples


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    """A CTC path without repeats, then without blanks (0)."""
    return tuple(s for i, s in enumerate(path) if s and (i == 0 or path[i - 1] != s))


def texts(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The probability of every text under (T, S) frame-wise log probabilities: a sum over all S^T paths."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        p = math.exp(sum(log_probs[t, s] for t, s in enumerate(path)))
        found[collapsed(path)] = found.get(collapsed(path), 0.0) + p
    return found


def edits(a: list[str], b: list[str]) -> int:
    """Levenshtein's distance by the table of all prefixes."""
    table = [[max(i, j) if not i or not j else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
    return table[-1][-1]
