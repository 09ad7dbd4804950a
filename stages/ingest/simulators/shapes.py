"""Coloured shapes on a noisy ground: a small image corpus whose factors are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core.item import Item

SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = {"red": (200, 60, 50), "green": (60, 170, 80), "blue": (70, 90, 210), "yellow": (215, 190, 60)}


@part
class Shapes:
    """`items` pictures of `side` x `side` x 3, each with one shape.

    Labels: shape, colour (classes); x, y (centre) and radius, all as shares of the side. Noise is Gaussian, `noise` in
    units of 0 to 255. Item i depends on (seed, i) alone, so a larger corpus begins with the smaller one.
    """

    def __init__(self, *, items: int = 1000, side: int = 32, noise: float = 12.0, seed: int = 0) -> None:
        self.count, self.side, self.noise, self.seed = items, side, noise, seed
        self.columns = [Column("image", "media", "pixels", shape=[side, side, 3])]

    def __iter__(self) -> Iterator[Item]:
        colours = list(COLOURS)
        for i in range(self.count):
            rng = np.random.default_rng([self.seed, i])
            shape, colour = SHAPES[rng.integers(len(SHAPES))], colours[rng.integers(len(colours))]
            radius = rng.uniform(0.12, 0.28)
            x, y = rng.uniform(radius, 1 - radius, 2)
            picture = rng.integers(0, 60, 3) + np.zeros((self.side, self.side, 3))
            picture[self._mask(shape, x, y, radius)] = COLOURS[colour]
            picture += rng.normal(0, self.noise, picture.shape)
            labels = {"shape": shape, "colour": colour, "x": float(x), "y": float(y), "radius": float(radius)}
            yield Item(f"shapes-{i:07d}", {"image": np.clip(picture, 0, 255).astype(np.uint8)}, labels)

    def _mask(self, shape: str, x: float, y: float, radius: float) -> np.ndarray:
        side = (np.arange(self.side) + 0.5) / self.side
        dx, dy = side[None, :] - x, side[:, None] - y
        if shape == "circle":
            return dx**2 + dy**2 <= radius**2
        if shape == "square":
            return np.maximum(abs(dx), abs(dy)) <= radius * 0.85
        if shape == "triangle":
            return (dy <= radius * 0.8) & (abs(dx) <= (dy + radius) * 0.6)
        return (np.maximum(abs(dx), abs(dy)) <= radius) & (np.minimum(abs(dx), abs(dy)) <= radius * 0.3)
