"""The features contract: hive folders `seed=0/part-00000.parquet` of embeddings, and `features.json`.

Columns: `id`, `split`, `row` (the item's number in corpus order), `index` (position within the item: patch, frame, token or
augmented copy; 0 for a clip), `layer`, `embedding` (FixedSizeList of float32 or float16, length D). No labels: join by id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common import atomic
from stages.common.errors import ContractError, unknown
from stages.common.parquet import WRITTEN, opened, readable
from stages.common.schema import build

INFO = "features.json"
ROW_GROUP_ROWS = 65_536
_BATCH_ROWS = 8192  # read at once: larger ones cost memory and save no time


@dataclass(frozen=True)
class FeaturesInfo:
    """features.json. rows: clip, patch, frame ...; dimension: D, of every layer; counts: rows per split (one layer)."""

    rows: str
    layers: list[int]
    dimension: int
    dtype: str
    seeds: list[int]
    counts: dict[str, int]
    encoder: str
    corpus: str


@dataclass
class Features:
    """Rows read back: ids (N,), splits (N,), row (N,), index (N,), x (N, D) float32."""

    ids: np.ndarray
    splits: np.ndarray
    row: np.ndarray
    index: np.ndarray
    x: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def schema(dimension: int, dtype: str) -> pa.Schema:
    """The Arrow schema of a part: embeddings of `dimension` numbers of float32 or float16. No column may hold nulls."""
    value = {"float32": pa.float32(), "float16": pa.float16()}[dtype]
    fields: list[tuple[str, Any]] = [("id", pa.string()), ("split", pa.string()), ("row", pa.int64()), ("index", pa.int32())]
    fields += [("layer", pa.int16()), ("embedding", pa.list_(value, dimension))]
    return pa.schema([pa.field(n, t, nullable=False) for n, t in fields])


def writer(path: Path, dimension: int, dtype: str) -> pq.ParquetWriter:
    """A Parquet writer with the contract's encoding: zstd level 1, embeddings byte_stream_split, the rest dictionary."""
    return pq.ParquetWriter(
        path,
        schema(dimension, dtype),
        compression="zstd",
        compression_level=1,
        use_dictionary=["id", "split"],
        use_byte_stream_split=["embedding.list.element"],
        **WRITTEN,
    )


def batch(ids: pa.Array, splits: pa.Array, row: np.ndarray, index: np.ndarray, layer: int, x: np.ndarray) -> pa.RecordBatch:
    """One record batch of the contract from columns of N rows and embeddings x (N, D) of float32 or float16."""
    flat = pa.array(np.ascontiguousarray(x).reshape(-1))
    embedding = pa.FixedSizeListArray.from_arrays(flat, x.shape[1])
    layers = pa.array(np.full(len(x), layer, np.int16))
    arrays = [ids, splits, pa.array(row, pa.int64()), pa.array(index, pa.int32()), layers, embedding]
    return pa.RecordBatch.from_arrays(arrays, schema=schema(x.shape[1], x.dtype.name))


def info(folder: Path) -> FeaturesInfo:
    """features.json of a sealed folder. Raises ContractError."""
    atomic.manifest(folder)
    return build(FeaturesInfo, atomic.read_json(folder / INFO), str(folder / INFO))


def read(folder: Path, seed: int, *, splits: Sequence[str] | None = None, layer: int | None = None) -> Features:
    """Streams rows into one preallocated array; memory is the result plus a few row groups, however large the corpus.

    seed: where the encoder had one seed only, that one serves every seed. Raises ContractError.
    """
    about = info(folder)
    chosen = seed if seed in about.seeds else about.seeds[0] if len(about.seeds) == 1 else None
    if chosen is None:
        raise unknown("seed", str(seed), map(str, about.seeds), where=folder)
    layer = about.layers[-1] if layer is None else layer
    if layer not in about.layers:
        raise unknown("layer", str(layer), map(str, about.layers), where=folder)
    for split in splits or ():
        if split not in about.counts:
            raise unknown("split", split, about.counts, where=folder)
    with readable("the features are damaged", where=folder, do="run the extract again"):
        return _read(folder, chosen, about, splits, layer)


def _read(folder: Path, seed: int, about: FeaturesInfo, splits: Sequence[str] | None, layer: int) -> Features:
    size = sum(n for s, n in about.counts.items() if splits is None or s in splits)
    x = np.empty((size, about.dimension), np.float32)
    row, index = np.empty(size, np.int64), np.empty(size, np.int32)
    ids: list[pa.Array] = []
    names: list[pa.Array] = []
    at = 0
    for path in sorted((folder / f"seed={seed}").glob("part-*.parquet")):
        file = opened(path)
        if file.schema_arrow != schema(about.dimension, about.dtype):
            raise ContractError(f"unexpected columns: {file.schema_arrow}", where=path, do="run the extract again")
        for chunk in file.iter_batches(_BATCH_ROWS, use_threads=False):
            mask = pc.equal(chunk["layer"], layer)
            if splits is not None:
                mask = pc.and_(mask, pc.is_in(chunk["split"], value_set=pa.array(splits, pa.string())))
            n = mask.true_count
            if not n:
                continue
            if at + n > size:
                raise ContractError(f"more than the {size} rows expected", where=folder, do="run the extract again")
            kept = chunk if n == len(chunk) else chunk.filter(mask)
            x[at : at + n] = kept["embedding"].flatten().to_numpy().reshape(n, -1)
            row[at : at + n], index[at : at + n] = kept["row"].to_numpy(), kept["index"].to_numpy()
            ids.append(kept["id"])
            names.append(kept["split"])
            at += n
    if at != size:
        raise ContractError(f"{at} rows found, {size} expected", where=folder, do="run the extract again")
    return Features(_strings(ids), _strings(names), row, index, x)


def _strings(chunks: list[pa.Array]) -> np.ndarray:
    return pa.chunked_array(chunks, pa.string()).to_numpy() if chunks else np.empty(0, object)
