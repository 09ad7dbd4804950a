"""Parquet as Prelude keeps it: a CRC-32 of every page, checked where it is read, so that a flipped bit is an error, no number.

The thread that asks does the reading. A stage takes the cores that it was given; and where one of Arrow's own threads finds no
memory, who asked waits for it for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from stages.common.errors import ContractError, of_machine

WRITTEN = {"write_page_checksum": True}  # for pyarrow's writers
# What readers raise on a damaged file: by their checks, by names in its footer, by numbers there that make no sense.
UNREADABLE = (OSError, ValueError, OverflowError, pa.ArrowException)


def opened(source: Path | IO[bytes]) -> pq.ParquetFile:
    """A Parquet file to read piece by piece, each with `use_threads=False`. Files of other hands, without checksums, pass.

    Arrow is told not to read ahead, or it would hold the whole file.
    """
    return pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True)


def read(source: Path | IO[bytes]) -> pa.Table:
    """All of a Parquet file. Raises what `readable` turns into an error that a user understands."""
    return opened(source).read(use_threads=False)


@contextmanager
def readable(what: str, *, where: str | Path, do: str) -> Iterator[None]:
    """Turns what a reader raises on a damaged file into a ContractError of these words.

    Memory that ran out, or a missing permission, is no damage: it stays what it is.
    """
    try:
        yield
    except UNREADABLE as error:
        if of_machine(error) is not None:
            raise
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise ContractError(f"{what}: {why}", where=where, do=do) from None
