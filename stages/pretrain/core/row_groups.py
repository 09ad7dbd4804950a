"""The row groups of a corpus that hold training items: where they lie, how many of the items each has, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common.corpus import Column, Corpus


@dataclass(frozen=True)
class RowGroups:
    """G row groups in corpus order, (G,) int64 each; the items of the chosen splits are numbered through them from 0.

    shard, number: where a group lies. row: the corpus row that it begins with. first: its first item. count: its items, 1 or
    more. stored: its bytes, uncompressed. 48 bytes a group are all that is kept of the corpus beside the groups in use.
    """

    shard: np.ndarray
    number: np.ndarray
    row: np.ndarray
    first: np.ndarray
    count: np.ndarray
    stored: np.ndarray

    @staticmethod
    def of(corpus: Corpus, splits: Sequence[str]) -> RowGroups:
        """Reads the column `split` of every row group and nothing else."""
        wanted, found = pa.array(splits, pa.string()), []
        row = first = 0
        for shard, path in enumerate(corpus.files):
            about = pq.read_metadata(path)
            for number in range(about.num_row_groups):
                split = corpus.row_group(shard, number, ["split"]).column(0)
                count = pc.sum(pc.is_in(split, value_set=wanted)).as_py() or 0
                if count:
                    found.append((shard, number, row, first, count, about.row_group(number).total_byte_size))
                row, first = row + len(split), first + count
        return RowGroups(*np.array(found, np.int64).reshape(-1, 6).T)

    @staticmethod
    def load(path: Path) -> RowGroups:
        """What `save` wrote."""
        return RowGroups(*np.load(path))

    def save(self, path: Path) -> None:
        """Writes one .npy file, (6, G) int64."""
        np.save(path, np.stack(astuple(self)))

    def __len__(self) -> int:
        return len(self.count)

    @property
    def items(self) -> int:
        """How many there are in all groups."""
        return int(self.count.sum())

    def holding(self, item: np.ndarray) -> np.ndarray:
        """The group of each item (B,)."""
        return np.searchsorted(self.first, item, side="right") - 1


@dataclass(frozen=True)
class RowGroup:
    """n items of one row group: media (n,) as stored; rows of the corpus and labels, -1 for none, (n,) int64."""

    media: pa.Array
    rows: np.ndarray
    labels: np.ndarray

    def take(self, place: np.ndarray) -> RowGroup:
        """The items at `place` (m,), copied, so that the others may go."""
        return RowGroup(self.media.take(pa.array(place)), self.rows[place], self.labels[place])


class Reader:
    """Reads one row group at a time: the media, and the label if there is one, of the items of the chosen splits."""

    def __init__(self, corpus: Corpus, groups: RowGroups, splits: Sequence[str], column: Column, label: str | None) -> None:
        self.corpus, self.groups, self.column, self.label = corpus, groups, column, label
        self.splits = pa.array(splits, pa.string())

    def __call__(self, group: int) -> RowGroup:
        """Raises ContractError where the shard is damaged, or holds nulls."""
        names = dict.fromkeys([self.column.name, "split", *([] if self.label is None else [self.label])])
        where = (int(self.groups.shard[group]), int(self.groups.number[group]))
        batch = self.corpus.row_group(*where, list(names))
        place = np.flatnonzero(pc.is_in(batch.column("split"), value_set=self.splits).to_numpy(zero_copy_only=False))
        labels = np.full(batch.num_rows, -1, np.int64)
        if self.label is not None:
            labels = batch.column(self.label).fill_null(-1).to_numpy(zero_copy_only=False)
        whole = RowGroup(batch.column(self.column.name), self.groups.row[group] + np.arange(batch.num_rows), labels)
        return whole if len(place) == batch.num_rows else whole.take(place)

    def nothing(self) -> RowGroup:
        """A group of no items."""
        return RowGroup(pa.array([], self.column.type), np.empty(0, np.int64), np.empty(0, np.int64))
