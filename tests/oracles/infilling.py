"""Text infilling symbol by symbol, in Python's whole numbers: spans are drawn, laid among what stays, and written as masks."""

from __future__ import annotations

import math

from tests.oracles.splitmix import GAMMA, MASK, mix

CLS, SEP, HIDDEN = 2, 3, 4


def _state(*words: int) -> int:
    state = 0
    for word in words:
        state = mix(((state ^ word) + GAMMA) & MASK)
    return state


def _words(state: int, n: int) -> list[int]:
    return [mix((state + i * GAMMA) & MASK) for i in range(1, n + 1)]


def poisson(u: float, mean: float) -> int:
    """The least k whose cumulative probability lies above u."""
    k, total = 0, 0.0
    while True:
        total += math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1))
        if total > u:
            return k
        k += 1


def infilled(symbols: list[int], width: int, name: tuple[int, int, int], share: float, mean: float) -> list[int]:
    """symbols: [CLS], the text's, [SEP]; name: seed, epoch, sample -> the corrupted symbols, [CLS] and [SEP] among them."""
    text = symbols[1:-1]
    n = len(text)
    budget = min(n, max(1, round(share * n)))
    room = width - 2 - n
    lengths: list[int] = []
    for word in _words(_state(*name, 0x4C656E), width):
        if sum(lengths) >= budget:
            break
        lengths.append(min(poisson((word >> 40) / 2**24, mean), budget - sum(lengths)))
    filled = [x for x in lengths if x]
    allowed = room + sum(filled) - len(filled)
    spans: list[int] = []
    for x in lengths:
        if x or spans.count(0) < allowed:
            spans.append(x)
    left = n - sum(spans)
    draws = [w - (1 << 64) if w >> 63 else w for w in _words(_state(*name, 0x506C6163), width)]  # as signed words
    order = sorted(range(left + len(spans)), key=lambda p: draws[p])
    span_at = {order[i]: spans[i] for i in range(len(spans))}
    out, at = [CLS], 0
    for p in range(left + len(spans)):
        if p in span_at:
            out.append(HIDDEN)
            at += span_at[p]
        else:
            out.append(text[at])
            at += 1
    return [*out, SEP]
