"""What passes between a source, a reader and the stage: items, and the protocols of the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from stages.common.corpus import Column
from stages.common.errors import UserError, shown
from stages.ingest.core.files import Files


@dataclass(frozen=True)
class Item:
    """One row to be: its keys, and values by column name.

    labels: every label the reader knows of, None where this item has none. media: a value per media column (see
    values.py), or an Undecoded one. group: what may not be torn apart by a split (speaker, patient); None: its own group.
    """

    id: str
    media: dict[str, Any]
    labels: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Broken:
    """An item that cannot be used, and why, on one short line that names no path of this machine and no address in memory."""

    item: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "item", self.item.encode("utf-8", "backslashreplace").decode())
        object.__setattr__(self, "reason", shown(" ".join(self.reason.splitlines()) or "it cannot be used", 300))


@dataclass(frozen=True)
class Undecoded:
    """A media value still to be made of `data`, where items are checked: maybe in another process, so `decode` is a function
    of a module or a method of an object of plain values. It raises BadItem, and its answer depends on nothing else.
    """

    decode: Callable[[bytes], Any]
    data: bytes

    def decoded(self) -> Any:
        return self.decode(self.data)


class BadItem(Exception):
    """Raised where an item's data turn out to be unusable; the stage quarantines the item with this reason."""


@dataclass(frozen=True)
class Context:
    """What a source is handed: where downloads are kept, and the folder of mirrored corpora, if there is one."""

    downloads: Path
    mirror: Path | None = None


class Source:
    """Where a corpus comes from. It yields files for a reader to read, or ready items for the reader `items`.

    name: the part's name. digest: SHA-256 over all it gives. about: what the card says of it, beside the digest.
    """

    name: str
    digest: str
    about: dict[str, Any]
    simulated = False

    def files(self) -> Files:
        raise UserError(f"the source {self.name!r} gives items, not files", do="write `reader: {name: items}`")

    def items(self) -> Items:
        raise UserError(f"the source {self.name!r} gives files, not items", do="choose a reader that reads files")


class Items(Protocol):
    """Ready items and their media and meta columns; simulators are made as `part(**arguments)`."""

    columns: list[Column]

    def __iter__(self) -> Iterator[Item]: ...


class Reader(Protocol):
    """Turns a source into items. `columns` (media and meta) is complete once the first item was given."""

    columns: list[Column]

    def read(self, source: Source) -> Iterator[Item | Broken]: ...
