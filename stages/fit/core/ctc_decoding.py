"""From probabilities of symbols at every frame to a text, under connectionist temporal classification (CTC)."""

from __future__ import annotations

import numpy as np

BLANK = 0


def greedy(log_probs: np.ndarray) -> list[int]:
    """log_probs (T, S), symbol 0 the blank -> the likeliest path with its repeats merged and blanks left out."""
    path = log_probs.argmax(1)
    kept = (path != BLANK) & np.concatenate([[True], path[1:] != path[:-1]])[: len(path)]
    found: list[int] = path[kept].tolist()
    return found


def prefix_beam(log_probs: np.ndarray, width: int) -> list[int]:
    """log_probs (T, S) -> the text of the largest summed probability among the `width` best prefixes kept at each frame.

    Each prefix carries the log probability of its paths that end in a blank and of those that do not: Hannun et al. 2014,
    "First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs", algorithm 1, no language
    model. Equal ones: the smaller text. Exact where `width` is not below the number of prefixes.
    """
    nothing = -np.inf
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, nothing)}
    for frame in log_probs.tolist():
        ahead: dict[tuple[int, ...], tuple[float, float]] = {}
        for prefix, (blank, symbol) in beam.items():
            whole = _add(blank, symbol)
            _grow(ahead, prefix, whole + frame[BLANK], nothing)
            if prefix:
                _grow(ahead, prefix, nothing, symbol + frame[prefix[-1]])
            for s in range(1, len(frame)):
                # a repeat after no blank belongs to the symbol before: only paths that end in a blank may double it
                before = blank if prefix and s == prefix[-1] else whole
                _grow(ahead, (*prefix, s), nothing, before + frame[s])
        best = sorted(ahead.items(), key=lambda found: (-_add(*found[1]), found[0]))
        beam = dict(best[:width])
    return list(next(iter(beam)))


def _grow(beam: dict[tuple[int, ...], tuple[float, float]], prefix: tuple[int, ...], blank: float, symbol: float) -> None:
    had = beam.get(prefix, (-np.inf, -np.inf))
    beam[prefix] = (_add(had[0], blank), _add(had[1], symbol))


def _add(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    return float(np.logaddexp(a, b))
