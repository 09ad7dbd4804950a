"""Feature shards that survive a kill: each is written under another name and renamed when it is whole.

So the folder itself is the manifest of what is finished: a shard that has its name is whole, whoever wrote it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common import features
from stages.common.atomic import sync_folder
from stages.common.parquet import opened


def name(number: int) -> str:
    """The file name of a shard."""
    return f"part-{number:05d}.parquet"


def missing(folder: Path, total: int) -> list[int]:
    """The numbers of the shards, of `total`, that do not lie there whole."""
    return [number for number in range(total) if not (folder / name(number)).exists()]


def clear(folder: Path) -> None:
    """Removes what killed processes left half written."""
    for path in folder.glob(".part-*.tmp-*"):
        path.unlink(missing_ok=True)


def counts(folder: Path, splits: Sequence[str], layer: int) -> dict[str, int]:
    """Rows per split of one layer, from the shards of one seed."""
    found = dict.fromkeys(splits, 0)
    for path in sorted(folder.glob("part-*.parquet")):
        file = opened(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["split", "layer"], use_threads=False)
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
        """Of this process alone: two machines may write one shard, where the first was taken for dead."""
        return self.folder / f".{name(self.number)}.tmp-{platform.node()}-{os.getpid()}"

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
