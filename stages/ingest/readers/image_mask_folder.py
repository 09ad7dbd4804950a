"""Pictures of parts with masks of their defects, in folders: whole, or cut into tiles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.files import File, Files
from stages.ingest.core.item import BadItem, Broken, Item, Source
from stages.ingest.core.paths import Named, PathRule
from stages.ingest.core.patterns import Wanted, everything
from stages.ingest.core.splits import place
from stages.ingest.core.values import decode_image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
MARKED = 127  # grey levels above it belong to the defect: masks that were resized have levels in between


@part
class ImageMaskFolder:
    """One item per picture, or per tile of one; the mask of its defect is a second column, `mask`.

    mask: [pattern, replacement] turn a picture's path into its mask's (`re.sub`); masks are no items, and their encoded bytes
    are held in memory. label: the class of a picture; those of class `normal` have no defect and need no mask. A second label,
    `defective`, says yes or no.

    tile null: `image` and `mask` keep the files' bytes. tile 64: uint8 (64, 64, channels) and (64, 64, 1), 0 or 255, every
    `stride` pixels (default: tile), at the picture's own resolution; what fills no tile is left out. A tile of a defective
    picture is an item where the mask marks a share of `least` or more: of the others nobody said that they are sound. Its id is
    the picture's, `@top,left` after it; its group is the picture's group, or else the picture.

    Splits for one-class learning, where the source declares none: all defective pictures test, and so does the share
    `test_share` of the groups that hold normal pictures alone, those of the lowest hash of (`salt`, group); the rest trains.
    pattern, splits, label, group, split: see core/paths.py. Raises UserError where no picture is of the class `normal`.
    """

    def __init__(
        self,
        *,
        mask: tuple[str, str],
        normal: str,
        tile: int | None = None,
        stride: int | None = None,
        least: float = 0.01,
        channels: Literal[1, 3] = 3,
        test_share: float = 0.3,
        salt: int = 0,
        pattern: str | None = None,
        splits: dict[str, list[str]] | None = None,
        label: str = "label",
        group: str | None = None,
        split: str | None = None,
    ) -> None:
        try:
            self.mask, self.replacement = re.compile(mask[0]), mask[1]
        except re.error as error:
            raise UserError(f"the pattern is no regular expression: {error}", where="reader.mask") from None
        if not 0 < least <= 1 or not 0 <= test_share < 1:
            raise UserError("least lies above 0 and up to 1, test_share from 0 to below 1", where="reader image_mask_folder")
        if (tile is not None and tile < 1) or (stride is not None and (tile is None or stride < 1)):
            raise UserError("tile and stride are 1 or more, and a stride needs a tile", where="reader image_mask_folder")
        self.normal, self.label = normal, label
        self.tile, self.stride, self.least, self.channels = tile, stride or tile, least, channels
        self.test_share, self.salt = test_share, salt
        self.rule = PathRule(pattern, splits or {}, label, group, split)
        kind: Literal["image", "pixels"] = "pixels" if tile else "image"
        self.columns = [
            Column("image", "media", kind, shape=[tile, tile, channels] if tile else None),
            Column("mask", "meta", kind, shape=[tile, tile, 1] if tile else None),
        ]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        of = self._masks({f.path for f in files.each(lambda path: path.lower().endswith(SUFFIXES))})
        pictures, wanted = _Pictures(files, set(of.values())), set(of.values())
        testing = self._testing(pictures)
        masks = {f.path: f.read() for f in files.each(lambda path: path in wanted)}
        for found in self.rule.walk(pictures, SUFFIXES):
            if isinstance(found, Broken):
                yield found
                continue
            file, named = found
            split = named.split or ("test" if (named.group or named.id) in testing else "train")
            try:
                yield from self._items(file, masks.get(of.get(file.path, "")), named, split)
            except BadItem as error:
                yield Broken(named.id, str(error))

    def _masks(self, paths: set[str]) -> dict[str, str]:
        """The path of each picture's mask, of those that are there."""
        named = {path: self.mask.sub(self.replacement, path) for path in paths}
        return {path: mask for path, mask in named.items() if mask != path and mask in paths}

    def _testing(self, pictures: Files) -> set[str]:
        """The groups that test: those with a defective picture, and some of the others."""
        odd, sound, kinds = set[str](), set[str](), set[Any]()
        for found in self.rule.walk(pictures, SUFFIXES):
            if not isinstance(found, Broken):
                named = found[1]
                kinds.add(named.labels.get(self.label))
                (sound if named.labels.get(self.label) == self.normal else odd).add(named.group or named.id)
        if not sound:
            raise UserError(
                f"no picture is of the class {self.normal!r}",
                where="reader.normal",
                do=f"choose among the values of {self.label!r}: {', '.join(sorted(map(str, kinds))) or 'there are none'}",
            )
        order = sorted(sound - odd, key=lambda group: (place(str(self.salt), group), group))
        return odd | set(order[: round(self.test_share * len(order))])

    def _items(self, file: File, mask: bytes | None, named: Named, split: str) -> Iterator[Item]:
        kind = named.labels.get(self.label)
        if kind is None:
            raise BadItem(f"no {self.label}")
        if mask is None and kind != self.normal:
            raise BadItem("a defective picture without a mask")
        data = file.read()
        labels = {**named.labels, "defective": "no" if kind == self.normal else "yes"}
        read = _Picture.of(data, mask, self.channels)
        if kind == self.normal and read.marked.any():
            raise BadItem("its mask marks a defect, its class is the normal one")
        if self.tile is None:
            stored = None if mask is None else {"bytes": mask, "path": f"{named.id}.mask"}
            yield Item(named.id, {"image": data}, labels, {"mask": stored}, named.group, split)
            return
        for top, left, cut in read.tiles(self.tile, self.stride or self.tile):
            if kind == self.normal or cut.marked.mean() >= self.least:
                meta = {"mask": (cut.marked * np.uint8(255)).reshape(-1)}
                identity = f"{named.id}@{top},{left}"
                yield Item(identity, {"image": cut.pixels}, labels, meta, named.group or named.id, split)


@dataclass(frozen=True)
class _Pictures:
    """A source's files without the masks among them."""

    files: Files
    masks: set[str]

    def each(self, wanted: Wanted = everything) -> Iterator[File]:
        return self.files.each(lambda path: path not in self.masks and wanted(path))


@dataclass(frozen=True)
class _Picture:
    """pixels (H, W, C) uint8, marked (H, W) bool."""

    pixels: np.ndarray
    marked: np.ndarray

    @staticmethod
    def of(data: bytes, mask: bytes | None, channels: int) -> _Picture:
        image = decode_image(data).convert("RGB" if channels == 3 else "L")
        pixels = np.asarray(image).reshape(image.height, image.width, channels)
        if mask is None:
            return _Picture(pixels, np.zeros(pixels.shape[:2], bool))
        marks = np.asarray(decode_image(mask).convert("L"))
        if marks.shape != pixels.shape[:2]:
            raise BadItem(f"its mask is {marks.shape[1]} x {marks.shape[0]}, the picture {image.width} x {image.height}")
        return _Picture(pixels, marks > MARKED)

    def tiles(self, side: int, stride: int) -> Iterator[tuple[int, int, _Picture]]:
        """(top, left, tile) in raster order. Raises BadItem where none fits."""
        height, width = self.marked.shape
        if min(height, width) < side:
            raise BadItem(f"a picture of {width} x {height}, smaller than a tile of {side}")
        for top in range(0, height - side + 1, stride):
            for left in range(0, width - side + 1, stride):
                window = slice(top, top + side), slice(left, left + side)
                yield top, left, _Picture(self.pixels[window], self.marked[window])
