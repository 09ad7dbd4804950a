"""Feature shards that survive a kill: each is written under another name and renamed when it is whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common import features
from stages.common.atomic import sync_folder


def name(number: int) -> str:
    """The file name of a shard."""
    return f"part-{number:05d}.parquet"


def finished(folder: Path) -> int:
    """How many shards lie there whole, counted from the first."""
    number = 0
    while (folder / name(number)).exists():
        number += 1
    return number


def counts(folder: Path, splits: Sequence[str], layer: int) -> dict[str, int]:
    """Rows per split of one layer, from the shards of one seed."""
    found = dict.fromkeys(splits, 0)
    for number in range(finished(folder)):
        file = pq.ParquetFile(folder / name(number))
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["split", "layer"])
            for pair in pc.value_counts(table.filter(pc.equal(table["layer"], layer))["split"]).to_pylist():
                found[pair["values"]] += pair["counts"]
    return found


class ShardWriter:
    """Writes record batches to one shard after another in row groups of the contract's size."""

    def __init__(self, folder: Path, dimension: int, dtype: str, number: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dimension, self.dtype, self.number = folder, dimension, dtype, number
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.RecordBatch] = []
        self._rows = 0

    @property
    def _unfinished(self) -> Path:
        return self.folder / f".{name(self.number)}.tmp"

    def write(self, batch: pa.RecordBatch) -> None:
        if self._writer is None:
            self._writer = features.writer(self._unfinished, self.dimension, self.dtype)
        self._held.append(batch)
        self._rows += batch.num_rows
        while self._rows >= features.ROW_GROUP_ROWS:
            self._flush(features.ROW_GROUP_ROWS)

    def _flush(self, rows: int) -> None:
        held = pa.Table.from_batches(self._held)
        if self._writer is not None:
            self._writer.write_table(held.slice(0, rows))
        self._held, self._rows = held.slice(rows).to_batches(), held.num_rows - rows

    def close_shard(self) -> None:
        """Completes the shard in hand, if it has rows, and goes on to the next."""
        if self._writer is None:
            return
        if self._rows:
            self._flush(self._rows)
        self._writer.close()
        self._writer = None
        with self._unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self._unfinished, self.folder / name(self.number))
        sync_folder(self.folder)
        self.number += 1
