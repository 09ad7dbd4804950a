"""The corpus contract: Parquet shards, and `corpus.json`, the card that says what their columns are.

Every row has `id` (unique), `split`, `group` (one split each), label columns and media columns. Storage by kind:

    image     struct<bytes, path>         encoded (JPEG, PNG ...)          pixels   fixed list of uint8, shape (H, W, C)
    waveform  struct<bytes, path>         mono WAV, 44-byte header,        series   list of float32, (T, C) row by row,
              PCM16 or float32 samples                                              shape [T or -1, C], rate in Hz
    text, molecule  string                tokens  list of int32            points   list of float32, (N, 3) row by row
    edges     list of ids of neighbours   events  list of struct<time (s, float64), code, value (float32)>
    graph     struct<nodes: list of strings, edges: list of int32, pairs of places in nodes, each edge once,
              degree: list of int32, each node's in the graph that this one was cut from>; node 0 is what the item is about
    class     int64 index into `classes`  number  float64                  (labels may be null: not labelled)
    steps     list of int32 indices into `classes`, (T, width) row by row, -1: not labelled

Schema metadata follows the Hugging Face convention, so `datasets.load_dataset("parquet", ...)` shows images and audio.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common import atomic
from stages.common.column import FILE, Column
from stages.common.errors import ContractError, unknown
from stages.common.parquet import WRITTEN, opened, readable
from stages.common.schema import as_plain, build

CARD, TOKENIZER = "corpus.json", "tokenizer.json"
ROW_GROUP_BYTES = 4 << 20
_NULLABLE = ("label", "meta")  # roles whose columns may hold nulls


KEYS = (Column("id", "id"), Column("split", "split"), Column("group", "group"))


@dataclass(frozen=True)
class Card:
    """corpus.json: what the corpus is. counts: rows per split; totals: seconds, pixels, tokens, events, by unit."""

    name: str
    title: str
    licence: str
    provenance: str
    source: dict[str, Any]  # where it came from and the digest over its files
    columns: list[Column]
    counts: dict[str, int]
    groups: dict[str, int]  # distinct groups per split
    shards: list[str]
    split_digest: str  # over the sorted (id, split) pairs
    totals: dict[str, float] = field(default_factory=dict)
    quarantined: list[dict[str, str]] = field(default_factory=list)  # {"item", "reason"}
    duplicates: dict[str, Any] = field(default_factory=dict)
    vocabulary: int = 0  # symbols of tokenizer.json; 0: there is none

    def column(self, name: str) -> Column:
        found = {c.name: c for c in self.columns}
        if name not in found:
            raise unknown("column", name, found, where=f"corpus {self.name}")
        return found[name]

    def media(self, name: str | None = None) -> Column:
        """The media column: the named one, or the only one. Raises ContractError."""
        media = [c for c in self.columns if c.role == "media"]
        if name is None and len(media) == 1:
            return media[0]
        if name is None:
            raise ContractError(
                f"the corpus has {len(media)} media columns: {', '.join(c.name for c in media) or 'none'}",
                where=f"corpus {self.name}",
                do="name one as `media:` in the encoder",
            )
        found = next((c for c in media if c.name == name), None)
        if found is None:
            raise ContractError(
                f"{name!r} is no media column: the corpus has {', '.join(c.name for c in media) or 'none'}",
                where=f"corpus {self.name}",
                do="name one as `media:` in the encoder, of a kind that its front end reads, or have the reader make it",
            )
        return found


def schema(columns: Sequence[Column]) -> pa.Schema:
    """The Arrow schema of a corpus' shards, Hugging Face metadata included."""
    fields = [pa.field(c.name, c.type, nullable=c.role in _NULLABLE) for c in columns]
    features = {c.name: c.feature for c in columns}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


class CorpusWriter:
    """Writes rows to shards in a folder: row groups of about 4 MB, a new shard when one exceeds `shard_bytes`."""

    def __init__(self, folder: Path, columns: Sequence[Column], shard_bytes: int = 64 << 20) -> None:
        self.folder, self.columns, self.schema, self.shard_bytes = folder, list(columns), schema(columns), shard_bytes
        self.shards: list[str] = []
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[pa.RecordBatch] = []
        self._bytes = self._written = 0

    def write(self, rows: Sequence[Mapping[str, Any]] | pa.RecordBatch) -> None:
        """Adds rows (mappings of column name to value, or a record batch of the schema)."""
        try:
            batch = rows if isinstance(rows, pa.RecordBatch) else pa.RecordBatch.from_pylist(list(rows), schema=self.schema)
            self._add(batch)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise self._misfit(error) from None

    def _misfit(self, error: Exception) -> ContractError:
        return ContractError(f"the rows do not fit the columns: {error}", where=self.folder, do="see what the reader gives")

    def _add(self, batch: pa.RecordBatch) -> None:
        """Halves what is larger than a row group, so that a group holds less than two of them however rows differ."""
        if batch.nbytes > ROW_GROUP_BYTES and batch.num_rows > 1:
            half = batch.num_rows // 2
            self._add(batch.slice(0, half))
            self._add(batch.slice(half))
            return
        self._pending.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending, self.schema)
        if self._writer is None:
            name = f"part-{len(self.shards):05d}.parquet"
            self._writer = pq.ParquetWriter(self.folder / name, self.schema, compression="zstd", compression_level=1, **WRITTEN)
            self.shards.append(name)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._written += self._bytes
        self._pending, self._bytes = [], 0
        if self._written >= self.shard_bytes:
            self._close_shard()

    def _close_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer, self._written = None, 0

    def close(self) -> None:
        """Writes what is pending. Raises ContractError where it does not fit the columns."""
        try:
            self._flush()
            self._close_shard()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise self._misfit(error) from None


def write_card(folder: Path, card: Card) -> None:
    """Writes corpus.json into an existing folder."""
    atomic.write_json(folder / CARD, as_plain(card))


class Corpus:
    """A corpus on disk, its contract checked when it is opened: card, shards, column names, types and nulls."""

    def __init__(self, folder: Path) -> None:
        self.digest: str = atomic.manifest(folder)["digest"]
        self._open(folder, build(Card, atomic.read_json(folder / CARD), str(folder / CARD)))

    @staticmethod
    def unsealed(folder: Path, card: Card) -> Corpus:
        """A corpus that is being written: its shards are whole, its manifest is not there yet."""
        corpus = Corpus.__new__(Corpus)
        corpus.digest = ""
        corpus._open(folder, card)
        return corpus

    def _open(self, folder: Path, card: Card) -> None:
        self.folder, self.card = folder, card
        self.files = [folder / name for name in card.shards]
        for path in self.files:
            self._check(path)

    def _check(self, path: Path) -> None:
        with readable("the shard is no readable Parquet", where=path, do="run the ingest again"):
            found = pq.read_schema(path)
        for column in self.card.columns:
            if column.name not in found.names:
                raise ContractError(f"column {column.name!r} is missing", where=path, do=f"expected {column.type}")
            if (stored := found.field(column.name).type) != column.type:
                raise ContractError(f"column {column.name!r} is {stored}, expected {column.type}", where=path)
        loose = [c.name for c in self.card.columns if c.role not in _NULLABLE and found.field(c.name).nullable]
        if loose:  # written by other hands: ours declare it, and Parquet keeps to it
            for batch in opened(path).iter_batches(4096, columns=loose, use_threads=False):
                self._no_nulls(batch, path)

    def table(self, columns: Sequence[str], splits: Sequence[str] | None = None) -> pa.Table:
        """Columns of all rows (of some splits), in shard order: the order of `row` everywhere."""
        return pa.Table.from_batches(list(self.batches(columns, splits)), schema=self._schema(columns))

    def batches(
        self, columns: Sequence[str], splits: Sequence[str] | None = None, rows: int = 4096
    ) -> Iterator[pa.RecordBatch]:
        """Streams record batches of at most `rows` rows; memory stays that of a few row groups: none is read ahead.

        Raises ContractError for a damaged shard, for nulls, and at the end where rows are missing.
        """
        for split in splits or ():
            if split not in self.card.counts:
                raise unknown("split", split, self.card.counts, where=self.folder)
        wanted = [self.card.column(c).name for c in columns]
        read = wanted if "split" in wanted else [*wanted, "split"]
        seen = 0
        for path in self.files:
            with readable("the shard is damaged", where=path, do="run the ingest again"):
                for batch in opened(path).iter_batches(rows, columns=read, use_threads=False):
                    kept = batch
                    if splits is not None:
                        kept = batch.filter(pc.is_in(batch.column("split"), value_set=pa.array(splits, pa.string())))
                    self._no_nulls(kept, path)
                    seen += kept.num_rows
                    if kept.num_rows:
                        yield kept.select(wanted)
        if seen != self.count(splits):
            what = f"the shards hold {seen} such rows, the card counts {self.count(splits)}"
            raise ContractError(what, where=self.folder, do="run the ingest again")

    def row_group(self, shard: int, group: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Columns of one row group of a shard, whole. Raises ContractError where it is damaged or holds nulls."""
        path = self.files[shard]
        with readable("the shard is damaged", where=path, do="run the ingest again"):
            table = opened(path).read_row_group(group, columns=list(columns), use_threads=False)
        arrays = [table[name].chunk(0) if table[name].num_chunks == 1 else table[name].combine_chunks() for name in columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
        self._no_nulls(batch, path)
        return batch

    def count(self, splits: Sequence[str] | None = None) -> int:
        return sum(n for split, n in self.card.counts.items() if splits is None or split in splits)

    def _schema(self, columns: Sequence[str]) -> pa.Schema:
        full = schema(self.card.columns)
        return pa.schema([full.field(c) for c in columns])

    def _no_nulls(self, batch: pa.RecordBatch, path: Path) -> None:
        for name in batch.schema.names:
            if self.card.column(name).role not in _NULLABLE and _has_nulls(batch.column(name)):
                raise ContractError(f"column {name!r} holds nulls", where=path, do="run the ingest again")


def _has_nulls(array: pa.Array) -> bool:
    """Whether a value, a file's bytes, or an element of a list of numbers or ids is missing."""
    if array.null_count:
        return True
    if array.type == FILE:
        return bool(array.field("bytes").null_count)
    nested = pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type)
    return nested and bool(array.flatten().null_count)
