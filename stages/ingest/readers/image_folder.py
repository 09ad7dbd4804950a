"""Images in folders, as Hugging Face's ImageFolder has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core.item import BadItem, Broken, Item, Source, Undecoded
from stages.ingest.core.paths import PathRule
from stages.ingest.core.values import decode_image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")


@part
class ImageFolder:
    """One item per image file; its id is its path, or the pattern's group `id`.

    store: `encoded` keeps the file's bytes, `pixels` decodes to uint8 (H, W, channels), all of the first image's size, or
    resized to `resize` (height, width). pattern, splits, label, group, split: see core/paths.py. column: the media's name.
    """

    def __init__(
        self,
        *,
        store: Literal["encoded", "pixels"] = "encoded",
        resize: tuple[int, int] | None = None,
        channels: Literal[1, 3] = 3,
        pattern: str | None = None,
        splits: dict[str, list[str]] | None = None,
        label: str = "label",
        group: str | None = None,
        split: str | None = None,
        column: str = "image",
    ) -> None:
        self.store, self.resize, self.channels, self.column = store, resize, channels, column
        self.rule = PathRule(pattern, splits or {}, label, group, split)
        self.columns: list[Column] = []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for found in self.rule.walk(source.files(), SUFFIXES):
            if isinstance(found, Broken):
                yield found
                continue
            file, named = found
            try:
                value = self._value(file.read())
            except BadItem as error:
                yield Broken(named.id, str(error))
                continue
            yield Item(named.id, {self.column: value}, named.labels, group=named.group, split=named.split)

    def _value(self, data: bytes) -> bytes | np.ndarray | Undecoded:
        if self.store == "encoded":
            self.columns = self.columns or [Column(self.column, "media", "image")]
            return data
        if self.columns:
            return Undecoded(self._pixels, data)
        pixels = self._pixels(data)  # of the first image: it says the shape
        self.columns = [Column(self.column, "media", "pixels", shape=list(pixels.shape))]
        return pixels

    def _pixels(self, data: bytes) -> np.ndarray:
        image = decode_image(data).convert("RGB" if self.channels == 3 else "L")
        if self.resize and image.size != (self.resize[1], self.resize[0]):
            image = image.resize((self.resize[1], self.resize[0]), 3, reducing_gap=3.0)  # 3: bicubic
        return np.asarray(image).reshape(image.height, image.width, self.channels)
