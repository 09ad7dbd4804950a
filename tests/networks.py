"""Drawn graphs for tests."""

from __future__ import annotations

import numpy as np


def network(seed: int = 0, count: int = 14, edges: int = 24) -> list[set[int]]:
    """Neighbours in a drawn graph; the last node has none."""
    rng = np.random.default_rng(seed)
    found: list[set[int]] = [set() for _ in range(count)]
    for a, b in rng.integers(0, count - 1, (edges, 2)).tolist():
        if a != b:
            found[a].add(b)
            found[b].add(a)
    return found
