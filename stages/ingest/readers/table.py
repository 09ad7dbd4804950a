"""Tables: each row is an item, and a mapping says what its columns are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.audio import AudioRule, Samples
from stages.ingest.core.item import BadItem, Broken, Item, Source
from stages.ingest.core.paths import SPLIT_NAMES, mapped_split
from stages.ingest.core.patterns import matching
from stages.ingest.core.rows import Row, kind_of, rows_of

Kind = Literal["text", "molecule", "tokens", "series", "points", "pixels", "image", "waveform", "edges", "events"]


@dataclass(frozen=True)
class MediaSpec:
    """Where a media column comes from: one `column`, or several `columns` of numbers side by side, given `shape` row by row."""

    kind: Kind
    column: str | None = None
    columns: list[str] | None = None
    shape: list[int] | None = None
    rate: int | None = None


@part
class Table:
    """Rows of all CSV, TSV, JSON-lines, Parquet or NumPy (.npz) files that match `files`; a .gz is read through.

    id, group, split: the columns with these roles; without `id`, it is the file's path and the row's number. splits:
    {split: [values]} reads the column `split`, or else the group, as the split it is listed under. media: {name: {kind, column
    or columns, shape, rate}}. labels: {label: column}, where their names differ; every column is offered under its own name.
    meta: columns kept as text. names: the columns of a CSV without a header. samples: see core/audio.py.
    """

    def __init__(
        self,
        *,
        media: dict[str, MediaSpec],
        format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "npz"] = "auto",
        files: list[str] | None = None,
        id: str | None = None,
        group: str | None = None,
        split: str | None = None,
        splits: dict[str, list[str]] | None = None,
        labels: dict[str, str] | None = None,
        meta: list[str] | None = None,
        names: list[str] | None = None,
        delimiter: str | None = None,
        samples: Samples = "int16",
    ) -> None:
        self.media, self.format, self.wanted = media, format, matching(files or ["*"])
        self.id, self.group, self.split, self.splits = id, group, split, splits or {}
        self.labels, self.meta, self.names, self.delimiter = labels or {}, meta or [], names, delimiter
        self.audio = {name: AudioRule(spec.rate, samples) for name, spec in media.items() if spec.kind == "waveform"}
        self.columns: list[Column] = []
        for name, spec in media.items():
            if (spec.column is None) == (spec.columns is None):
                raise UserError("a media column needs `column` or `columns`", where=f"reader.media.{name}", do="name one")

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for file in source.files().each(self.wanted):
            kind = self.format if self.format != "auto" else kind_of(file.path)
            if kind is None:
                continue
            stem = file.path.removesuffix(PurePosixPath(file.path).suffix)
            for number, row in enumerate(rows_of(file, kind, self._needed(), self.names, self.delimiter)):
                yield row if isinstance(row, Broken) else self._item(row, f"{stem}-{number:08d}")

    def _needed(self) -> list[str]:
        columns = [c for spec in self.media.values() for c in (spec.columns or [spec.column or ""])]
        keys = [c for c in (self.id, self.group, self.split) if c]
        return [*keys, *columns, *self.labels.values(), *self.meta]

    def _item(self, row: Row, place: str) -> Item | Broken:
        identity = _key(row[self.id]) if self.id else place
        if identity == "":
            return Broken(place, "no id")
        try:
            media = {name: self._value(name, spec, row) for name, spec in self.media.items()}
        except BadItem as error:
            return Broken(identity, str(error))
        if not self.columns:
            self.columns = [
                *(self._column(n, s, media[n]) for n, s in self.media.items()),
                *(Column(m, "meta") for m in self.meta),
            ]
        group = _key(row[self.group]) if self.group else None
        own = {k: v for k, v in row.items() if k not in self.media and not isinstance(v, (list, dict, bytes, np.ndarray))}
        return Item(
            id=identity,
            media=media,
            labels=own | {name: row.get(column) for name, column in self.labels.items()},
            meta={m: None if row[m] is None else str(row[m]) for m in self.meta},
            group=group,
            split=self._split(row, group),
        )

    def _split(self, row: Row, group: str | None) -> str | None:
        value = _key(row[self.split]) if self.split else group if self.splits else None
        if self.splits:
            return mapped_split(self.splits, value)
        return SPLIT_NAMES.get(value.lower(), value) if value else None

    def _value(self, name: str, spec: MediaSpec, row: Row) -> Any:
        value: Any = [row[c] for c in spec.columns] if spec.columns else row[spec.column or ""]
        if value is None:
            raise BadItem(f"no {name}")
        if isinstance(value, dict) and spec.kind in ("image", "waveform"):
            value = value.get("bytes")
        if spec.kind in ("image", "waveform") and not isinstance(value, bytes):
            raise BadItem(f"{name} holds no bytes")
        if spec.kind == "waveform":
            return self.audio[name].later(value)
        if spec.kind == "events":
            return _events(name, value)
        if spec.kind in ("text", "molecule", "image", "edges"):
            return value
        return _array(name, spec, value)

    def _column(self, name: str, spec: MediaSpec, value: Any) -> Column:
        rate = self.audio[name].rate if name in self.audio else spec.rate
        shape = spec.shape
        if spec.kind in ("series", "points") and shape is None:
            shape = [-1, value.shape[-1]]
        if spec.kind == "pixels":
            shape = list(value.shape)
        return Column(name, "media", spec.kind, shape=shape, rate=rate)


def _events(name: str, value: Any) -> list[tuple[float, str, Any]]:
    """Events of a cell as values.py takes them. Raises BadItem."""
    try:
        return [(float(e["time"]), str(e["code"]), e.get("value")) for e in value]
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        raise BadItem(f"{name} is no list of events with a time and a code") from None


def _array(name: str, spec: MediaSpec, value: Any) -> np.ndarray:
    """Numbers of a cell, or of several, as an array of the media's shape. Raises BadItem."""
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    try:
        if spec.kind == "tokens":
            return np.array([int(v) for v in value], np.int64)
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise BadItem(f"{name} holds what is no number") from None
    if array.ndim == 1 and spec.kind != "pixels" and spec.shape is None:
        array = array.reshape(-1, 1)
    if spec.shape is not None:
        if array.size == 0 or array.size % max(1, abs(int(np.prod([s for s in spec.shape if s != -1])))):
            raise BadItem(f"{name} has {array.size} values, which do not make the shape {spec.shape}")
        try:
            array = array.reshape(spec.shape)
        except ValueError:
            raise BadItem(f"{name} has {array.size} values, which do not make the shape {spec.shape}") from None
    if spec.kind != "pixels":
        return array
    if not ((array >= 0) & (array <= 255) & (array == np.rint(array))).all():
        raise BadItem(f"{name} holds values that are not 0 to 255")
    return (array[:, :, None] if array.ndim == 2 else array).astype(np.uint8)


def _key(value: Any) -> str:
    """An id, group or split as text; whole numbers that a table made floats lose their `.0`. Nothing gives the empty text."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
