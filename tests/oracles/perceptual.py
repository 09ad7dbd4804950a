"""Perceptual hash by plain loops and SciPy-free sums: the definition, one coefficient at a time."""

from __future__ import annotations

import math

import numpy as np


def perceptual_hash(image: np.ndarray) -> int:
    """64-bit hash of a grey image (32, 32): bit 8 k + l is set where coefficient (k, l) exceeds the median of the other 63."""
    low = []
    for k in range(8):
        for m in range(8):
            total = 0.0
            for y in range(32):
                for x in range(32):
                    total += (
                        float(image[y, x]) * math.cos(math.pi * k * (2 * y + 1) / 64) * math.cos(math.pi * m * (2 * x + 1) / 64)
                    )
            low.append(total * (math.sqrt(0.5) if k == 0 else 1) * (math.sqrt(0.5) if m == 0 else 1))
    middle = sorted(low[1:])[31]
    return sum(1 << i for i, value in enumerate(low) if value > middle)
