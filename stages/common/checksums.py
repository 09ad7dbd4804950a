"""CRC-32 of every Parquet page: written with it, checked where it is read, so that a flipped bit is an error, not a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stages.common.errors import ContractError, of_machine

WRITTEN = {"write_page_checksum": True}  # for pyarrow's writers
CHECKED = {"page_checksum_verification": True}  # for its readers; files of other hands, which have none, pass
# What they raise on a damaged file: by their checks, by names in its footer, by numbers there that make no sense.
UNREADABLE = (OSError, ValueError, OverflowError, pa.ArrowException)


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file to read piece by piece, checked; Arrow is told not to read ahead, or it would hold the whole file."""
    return pq.ParquetFile(path, pre_buffer=False, **CHECKED)


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
