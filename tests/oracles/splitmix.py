"""SplitMix64 in Python's whole numbers, reduced modulo 2^64 by hand."""

from __future__ import annotations

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def sequence(seed: int, n: int) -> list[int]:
    """The first n outputs of the generator of that seed."""
    return [mix((seed + i * GAMMA) & MASK) for i in range(1, n + 1)]
