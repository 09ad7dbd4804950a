"""Blocks of consecutive items, each checked by one process into one file of the spill, which takes its name when whole.

So the folder is the manifest of what is finished, and a block that is there is not checked again after a crash. Where blocks
end depends on the items alone, not on who checks them.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.common import atomic
from stages.common.errors import UserError
from stages.common.plan import LabelPlan
from stages.ingest.core.item import BadItem, Broken, Item, Reader, Source, Undecoded
from stages.ingest.core.spill import Form, Spilled, SpillWriter

BLOCK_BYTES, BLOCK_ROWS = 8 << 20, 4096
_UNKNOWN = 1 << 10  # bytes of a value of another type


@dataclass(frozen=True)
class Block:
    """What one process checks. path: of its file; without entries: the file is there already."""

    path: Path
    form: Form
    entries: list[Item | Broken] = field(default_factory=list)


def check(block: Block) -> str:
    """Writes a block's good items, and beside them why the others are broken. Returns the file's path."""
    if block.entries and not block.path.exists():
        unfinished = block.path.with_name(f".{block.path.name}.tmp-{platform.node()}-{os.getpid()}")
        writer, broken = SpillWriter(unfinished, block.form), list[Broken]()
        for entry in block.entries:
            if isinstance(entry, Broken):
                broken.append(entry)
                continue
            try:
                writer.add(entry)
            except BadItem as error:
                broken.append(Broken(entry.id or "(without an id)", str(error)))
        writer.close()
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        atomic.write_json(_broken(block.path), [[b.item, b.reason] for b in broken])
        os.replace(unfinished, block.path)
        atomic.sync_folder(block.path.parent)
    return str(block.path)


class Cutting:
    """Cuts a reader's items into blocks, and joins the checked ones to the spill. `form` is known after the first item."""

    def __init__(self, folder: Path, labels: Mapping[str, LabelPlan]) -> None:
        self.folder, self.labels = folder.absolute(), labels
        self.form: Form | None = None
        self.ids: list[str] = []  # of the good items that were joined
        self.reused = 0  # blocks that an earlier run had finished
        self.broken: list[Broken] = []
        self._paths: list[Path] = []
        self._known: set[str] = set()

    def blocks(self, reader: Reader, source: Source) -> Iterator[Block]:
        """The reader's items, cut where they have so many bytes or rows. Raises UserError as `Form.of` does."""
        held: list[Item | Broken] = []
        size = number = 0
        for entry in reader.read(source):
            held.append(entry)
            if isinstance(entry, Item):
                self.form = self.form or Form.of(self.labels, entry, reader.columns)
                size += sum(map(_bytes, entry.media.values()))
            if self.form is not None and (size >= BLOCK_BYTES or len(held) >= BLOCK_ROWS):
                yield self._block(number, self.form, held)
                held, size, number = [], 0, number + 1
        if self.form is not None:
            yield self._block(number, self.form, held)
        else:
            self.broken += [entry for entry in held if isinstance(entry, Broken)]

    def _block(self, number: int, form: Form, held: list[Item | Broken]) -> Block:
        path = self.folder / f"block-{number:06d}.arrow"
        there = path.exists()
        self.reused += there
        return Block(path, form, [] if there else held)

    def join(self, path: Path) -> None:
        """Takes up the next block's file. Raises UserError where two items have one id."""
        if not path.exists():  # it held no entry
            return
        assert self.form is not None
        for identity in Spilled([path], self.form).column("id"):
            if identity in self._known:
                raise UserError(f"two items have the id {identity!r}", do="give each item its own id")
            self._known.add(identity)
            self.ids.append(identity)
        self.broken += [Broken(item, reason) for item, reason in atomic.read_json(_broken(path))]
        self._paths.append(path)

    def spilled(self) -> Spilled:
        """All that was joined. There must be an item."""
        assert self.form is not None
        return Spilled(self._paths, self.form)


def _broken(path: Path) -> Path:
    return path.with_suffix(".json")


def _bytes(value: Any) -> int:
    """About what a media value weighs before it is stored."""
    if isinstance(value, Undecoded):
        return len(value.data)
    if isinstance(value, np.ndarray | pa.Array):
        return int(value.nbytes)
    return len(value) if isinstance(value, bytes | str) else _UNKNOWN
