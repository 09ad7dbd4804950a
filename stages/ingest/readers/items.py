"""For sources that give ready items: bundled, simulated."""

from __future__ import annotations

from collections.abc import Iterator

from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core.item import Broken, Item, Source


@part
class ItemsReader:
    """Passes the source's items on."""

    def __init__(self) -> None:
        self.columns: list[Column] = []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        items = source.items()
        self.columns = items.columns
        yield from items
