"""The spill: items as they were read, checked, in the reader's order, in Arrow files of the work folder.

Splits, duplicates and class lists need all keys before the first row can be written. The spill lets every source be read
once, and memory stays that of one batch whatever the order of the rows.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.common.corpus import Column
from stages.common.errors import UserError, unknown
from stages.common.plan import LabelPlan
from stages.ingest.core.item import BadItem, Item, Undecoded
from stages.ingest.core.values import content_digest, store, unicode_text

_BATCH_BYTES, _BATCH_ROWS = 4 << 20, 4096
_MAPPED = 64 << 20  # bytes read of the mapped spill after which its pages are given back
_KEYS = [("id", pa.string()), ("group", pa.string()), ("split", pa.string()), ("content", pa.binary(16))]
_RESERVED = ("id", "split", "group")


@dataclass(frozen=True)
class Form:
    """What a row of the spill holds: the plan's labels (others are not kept), media and meta columns of the reader."""

    labels: Mapping[str, LabelPlan]
    media: list[Column]
    meta: list[Column]

    @staticmethod
    def of(labels: Mapping[str, LabelPlan], item: Item, columns: list[Column]) -> Form:
        """The form by the first item and the reader's columns. Raises UserError for a label that nobody gives."""
        for name in labels:
            if name not in item.labels:
                raise unknown("label", name, item.labels, where="labels")
        names = [*_RESERVED, *labels, *(c.name for c in columns)]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise UserError(f"two columns are named {twice!r}", where="labels, reader", do="rename one of them")
        return Form(labels, [c for c in columns if c.role == "media"], [c for c in columns if c.role == "meta"])

    @property
    def schema(self) -> pa.Schema:
        label_types = {"class": pa.string(), "number": pa.float64(), "text": pa.string(), "steps": pa.list_(pa.int32())}
        fields = [
            *_KEYS,
            ("amounts", pa.map_(pa.string(), pa.float64())),
            *((f"label:{n}", label_types[p.kind]) for n, p in self.labels.items()),
            *((f"media:{c.name}", c.type) for c in self.media),
            *((f"meta:{c.name}", c.type) for c in self.meta),
        ]
        return pa.schema(fields)

    def row(self, item: Item) -> tuple[dict[str, Any], int]:
        """An item checked and in stored form, and the bytes of its media. Raises BadItem where its data cannot be used."""
        if not item.id or not isinstance(item.id, str):
            raise BadItem("no id")
        row: dict[str, Any] = {"id": item.id, "group": item.group or item.id, "split": item.split}
        contents, amounts = [], dict[str, float]()
        for column in self.media:
            value = item.media.get(column.name)
            stored = store(column, value.decoded() if isinstance(value, Undecoded) else value, item.id)
            row[f"media:{column.name}"] = stored.value
            contents.append(stored.content)
            for unit, amount in stored.amounts.items():
                amounts[unit] = amounts.get(unit, 0.0) + amount
        if item.group == "":
            raise BadItem("no group")
        row["content"] = content_digest(contents)
        row["amounts"] = list(amounts.items())
        for name, plan in self.labels.items():
            row[f"label:{name}"] = label_value(name, plan, item.labels.get(name))
        for column in self.meta:
            row[f"meta:{column.name}"] = item.meta.get(column.name)
        for name, value in row.items():
            if isinstance(value, str) and not name.startswith("media:"):  # text media were looked at by `store`
                unicode_text(value, f"its {name.rpartition(':')[2]}")
        return row, sum(map(len, contents))


class SpillWriter:
    """Writes rows of one form to one file, batch by batch."""

    def __init__(self, path: Path, form: Form) -> None:
        self.form, self._schema = form, form.schema
        self._rows: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        self._bytes = 0
        self._writer = pa.ipc.new_file(str(path), self._schema)

    def add(self, item: Item) -> None:
        """Adds an item. Raises BadItem where its data cannot be used."""
        row, size = self.form.row(item)
        for name, value in row.items():
            self._rows[name].append(value)
        self._bytes += size
        if self._bytes >= _BATCH_BYTES or len(self._rows["id"]) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows["id"]:
            arrays = [_column(self._rows[f.name], f.type) for f in self._schema]
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows = {name: [] for name in self._rows}
            self._bytes = 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


class Spilled:
    """The spill, mapped into memory: columns of all rows, or all columns of some rows. `paths`: its files, in order.

    The system would take pages back that were read, but only when it is short of memory; till then they count as ours.
    """

    def __init__(self, paths: Sequence[Path], form: Form) -> None:
        self.media, self.meta = form.media, form.meta
        self._batches: list[pa.RecordBatch] = []
        self._maps: list[mmap.mmap] = []
        for path in paths:
            with path.open("rb") as file:  # the mapping stays when it is closed
                self._maps.append(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
            reader = pa.ipc.open_file(pa.py_buffer(self._maps[-1]))
            self._batches += [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(b.num_rows for b in self._batches)])
        self._read = 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    def column(self, name: str, known: Iterable[str] = ()) -> list[Any]:
        """A column's values, in the reader's order; for keys and labels. Equal texts, also those of `known`, are one object."""
        met: dict[Any, Any] = {text: text for text in known}
        found: list[Any] = []
        for batch in self._batches:
            values = batch.column(name)
            found += [met.setdefault(value, value) if isinstance(value, str) else value for value in values.to_pylist()]
            self._give_back(values.nbytes)
        return found

    def contents(self) -> pa.FixedSizeBinaryArray:
        """The digests of all rows' media, of 16 bytes, in the reader's order."""
        return pa.concat_arrays([batch.column("content") for batch in self._batches])

    def take(self, rows: np.ndarray) -> pa.RecordBatch:
        """The given rows (R,) int64, in the order given."""
        of = np.searchsorted(self._starts, rows, side="right") - 1
        parts, places = [], []
        for b in np.unique(of):
            here = np.flatnonzero(of == b)
            parts.append(self._batches[b].take(pa.array(rows[here] - self._starts[b])))
            places.append(here)
        joined = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
        self._give_back(joined.nbytes)
        if len(parts) == 1:
            return joined
        return joined.take(pa.array(np.argsort(np.concatenate(places))))

    def _give_back(self, read: int) -> None:
        self._read += read
        if self._read >= _MAPPED:
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)
            self._read = 0


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if values and isinstance(values[0], pa.Array):  # lists that are Arrow's already
        offsets = pa.array(np.cumsum([0, *map(len, values)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, pa.concat_arrays(values))
    return pa.array(values, kind)


def label_value(name: str, plan: LabelPlan, value: Any) -> Any:
    """A label as text (class, text), float (number) or class indices (steps); None stays None.

    Raises BadItem where it is of another kind.
    """
    if plan.kind == "steps":
        return None if value is None else _steps(name, plan, value)
    if value is None or value == "" or (isinstance(value, float) and value != value):
        return None
    if plan.kind != "number":
        text = str(value)
        if plan.kind == "class" and plan.classes is not None and text not in plan.classes:
            raise BadItem(f"label {name} is {text!r}, none of the plan's classes")
        return text
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise BadItem(f"label {name} is {value!r}, not a number") from None
    if number in (float("inf"), float("-inf")) or number != number:
        raise BadItem(f"label {name} is {number}")
    return number


def _steps(name: str, plan: LabelPlan, value: Any) -> list[int]:
    """Class indices (T,) or (T, width), row by row; -1 where a row is not labelled."""
    rows = np.asarray(value)
    if rows.dtype.kind not in "iu" or rows.size % plan.width or (rows.ndim > 1 and rows.shape[-1] != plan.width):
        raise BadItem(f"label {name} is no whole numbers in rows of {plan.width}")
    if rows.size and not -1 <= int(rows.min()) <= int(rows.max()) < len(plan.classes or ()):
        raise BadItem(f"label {name} holds an index beyond its {len(plan.classes or ())} classes")
    return rows.reshape(-1).tolist()
