"""CRC-32 of every Parquet page: written with it, checked where it is read, so that a flipped bit is an error, not a number."""

from __future__ import annotations

import pyarrow as pa

WRITTEN = {"write_page_checksum": True}  # for pyarrow's writers
CHECKED = {"page_checksum_verification": True}  # for its readers; files of other hands, which have none, pass
# What they raise on a damaged file: by their checks, by names in its footer, by numbers there that make no sense.
UNREADABLE = (OSError, ValueError, OverflowError, pa.ArrowException)
