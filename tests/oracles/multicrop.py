"""Slow reference of multi-crop: one window after another from SplitMix64 in whole numbers, one pixel after another."""

from __future__ import annotations

import math

import numpy as np

from tests.oracles.splitmix import GAMMA, MASK, mix, sequence

ATTEMPTS = 10


def numbers(seed: int, epoch: int, sample: int, view: int, n: int) -> list[float]:
    """The first n numbers in [0, 1) of one view of one sample: 24 bits each."""
    state = 0
    for word in (seed, epoch, sample, view):
        state = mix(((state ^ word) + GAMMA) & MASK)
    return [(word >> 40) / 2**24 for word in sequence(state, n)]


def window(draws: list[float], area: tuple[float, float], ratio: tuple[float, float], aspect: float) -> tuple[float, ...]:
    """(top, left, height, width) as shares of the picture: the first of ten that fits in it, else the first, cut to it."""
    found = None
    for i in range(ATTEMPTS):
        share = area[0] + (area[1] - area[0]) * draws[i]
        shape = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * draws[ATTEMPTS + i])
        width, height = math.sqrt(share * shape / aspect), math.sqrt(share / shape * aspect)
        if width <= 1 and height <= 1:
            found = (height, width)
            break
        if i == 0:
            first = (min(height, 1.0), min(width, 1.0))
    height, width = found or first
    return draws[2 * ATTEMPTS] * (1 - height), draws[2 * ATTEMPTS + 1] * (1 - width), height, width


def mirrored(draws: list[float], flip: float) -> bool:
    return draws[2 * ATTEMPTS + 2] < flip


def resampled(picture: np.ndarray, box: tuple[float, ...], flipped: bool, shape: tuple[int, int]) -> np.ndarray:
    """The window of picture (C, H, W) at another size, bilinear between pixel centres, edges repeated."""
    top, left, height, width = box
    channels, rows, columns = picture.shape
    out = np.zeros((channels, *shape))
    for i in range(shape[0]):
        for j in range(shape[1]):
            target = shape[1] - 1 - j if flipped else j
            y = min(max((top + height * (i + 0.5) / shape[0]) * rows - 0.5, 0), rows - 1)
            x = min(max((left + width * (target + 0.5) / shape[1]) * columns - 0.5, 0), columns - 1)
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            for c in range(channels):
                upper = picture[c, y0, x0] * (1 - (x - x0)) + picture[c, y0, x1] * (x - x0)
                lower = picture[c, y1, x0] * (1 - (x - x0)) + picture[c, y1, x1] * (x - x0)
                out[c, i, j] = upper * (1 - (y - y0)) + lower * (y - y0)
    return out
