"""Which items a corpus holds, told by digests, so that corpora are compared without being read.

An ingest leaves contents.parquet in its record: split string; id, group binary(8); content binary(16), of an item's media.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from stages.common import parquet
from stages.common.errors import ContractError

NAME = "contents.parquet"
MOST = 10_000_000  # rows; what is larger is not compared: 32 bytes a row would be too much for a record
SCHEMA = pa.schema([("split", pa.string()), ("id", pa.binary(8)), ("group", pa.binary(8)), ("content", pa.binary(16))])


def table(splits: Sequence[str], ids: Sequence[str], groups: Sequence[str], contents: pa.Array) -> pa.Table:
    """The table of a corpus' rows; contents: 16 bytes each, equal where the media are."""
    columns = [pa.array(splits), pa.array(map(_short, ids), SCHEMA.field("id").type)]
    columns += [pa.array(map(_short, groups), SCHEMA.field("group").type), contents]
    return pa.table(columns, schema=SCHEMA)


def read(path: Path) -> pa.Table | None:
    """The table; None where there is none. Raises ContractError where it cannot be read."""
    if not path.is_file():
        return None
    with parquet.readable("the table cannot be read", where=path, do="run the ingest again"):
        found = parquet.read(path)
    if not found.schema.equals(SCHEMA):
        raise ContractError("the table has other columns than expected", where=path, do="run the ingest again")
    return found


def _short(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
