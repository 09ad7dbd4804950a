"""Slow references of picture operations, one pixel at a time, in plain Python and NumPy."""

from __future__ import annotations

import colorsys
import math

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])


def crop(picture: np.ndarray, top: float, left: float, height: float, width: float, flipped: bool) -> np.ndarray:
    """picture (C, H, W): the window resized to (H, W), bilinear between pixel centres, edges repeated."""
    channels, rows, columns = picture.shape
    out = np.zeros_like(picture)
    for i in range(rows):
        for j in range(columns):
            target = columns - 1 - j if flipped else j
            y = min(max((top + height * (i + 0.5) / rows) * rows - 0.5, 0), rows - 1)
            x = min(max((left + width * (target + 0.5) / columns) * columns - 0.5, 0), columns - 1)
            y0, x0 = math.floor(y), math.floor(x)
            y1, x1 = min(y0 + 1, rows - 1), min(x0 + 1, columns - 1)
            for c in range(channels):
                upper = picture[c, y0, x0] * (1 - (x - x0)) + picture[c, y0, x1] * (x - x0)
                lower = picture[c, y1, x0] * (1 - (x - x0)) + picture[c, y1, x1] * (x - x0)
                out[c, i, j] = upper * (1 - (y - y0)) + lower * (y - y0)
    return out


def grey(picture: np.ndarray) -> np.ndarray:
    return picture[0] if len(picture) == 1 else np.tensordot(LUMA, picture, axes=1)


def brightness(picture: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(picture * factor, 0, 1)


def contrast(picture: np.ndarray, factor: float) -> np.ndarray:
    mean = grey(picture).mean()
    return np.clip(mean * (1 - factor) + picture * factor, 0, 1)


def saturation(picture: np.ndarray, factor: float) -> np.ndarray:
    return np.clip(grey(picture) * (1 - factor) + picture * factor, 0, 1)


def hue(picture: np.ndarray, shift: float) -> np.ndarray:
    """Through the standard library's HSV, pixel by pixel."""
    out = np.zeros_like(picture)
    for i in range(picture.shape[1]):
        for j in range(picture.shape[2]):
            h, s, v = colorsys.rgb_to_hsv(*picture[:, i, j])
            out[:, i, j] = colorsys.hsv_to_rgb((h + shift) % 1, s, v)
    return out


def blur(picture: np.ndarray, sigma: float, radius: int) -> np.ndarray:
    """Direct two-dimensional convolution with the cut Gaussian, mirrored at the border without repeating the edge."""
    weight = np.array(
        [
            [math.exp(-(a * a + b * b) / (2 * sigma * sigma)) for b in range(-radius, radius + 1)]
            for a in range(-radius, radius + 1)
        ]
    )
    weight /= weight.sum()
    channels, rows, columns = picture.shape
    out = np.zeros_like(picture)
    for c in range(channels):
        for i in range(rows):
            for j in range(columns):
                for a in range(-radius, radius + 1):
                    for b in range(-radius, radius + 1):
                        y, x = _mirror(i + a, rows), _mirror(j + b, columns)
                        out[c, i, j] += weight[a + radius, b + radius] * picture[c, y, x]
    return out


def _mirror(index: int, size: int) -> int:
    index = abs(index)
    return index if index < size else 2 * (size - 1) - index
