"""Corpora that come with an installed library: nothing to fetch."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.item import Context, Item, Items, Source


@part
class BundledSource(Source):
    """digits: 1,797 handwritten digits of 8x8 pixels, as scikit-learn ships them (UCI optdigits, the test part).

    The stored values 0 to 16 are scaled to 0 to 255. Label `digit`. The file is found without importing scikit-learn.
    """

    name = "bundled"

    def __init__(self, context: Context, *, corpus: Literal["digits"] = "digits") -> None:
        self.data = _shipped("sklearn", "datasets/data/digits.csv.gz").read_bytes()
        self.digest = hashlib.sha256(self.data).hexdigest()
        self.about: dict[str, Any] = {"corpus": corpus, "package": "scikit-learn"}

    def items(self) -> Items:
        return Digits(self.data)


class Digits:
    """Items of the digits file: 64 grey values of 0 to 16 and the digit, per line."""

    columns = [Column("image", "media", "pixels", shape=[8, 8, 1])]  # noqa: RUF012

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Item]:
        table = np.array([line.split(",") for line in gzip.decompress(self.data).decode().split()], np.float64)
        pixels = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        for i, (picture, digit) in enumerate(zip(pixels, table[:, 64], strict=True)):
            yield Item(f"digits-{i:04d}", {"image": picture}, {"digit": int(digit)})


def _shipped(package: str, name: str) -> Path:
    """A file of an installed package, found without importing it: importing scikit-learn takes two seconds."""
    spec = importlib.util.find_spec(package)
    roots = [Path(p) for p in spec.submodule_search_locations or []] if spec else []
    for root in roots:
        if (root / name).is_file():
            return root / name
    raise UserError(f"the package {package!r} with {name} is not installed", do="install scikit-learn")
