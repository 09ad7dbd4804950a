"""Events as arrays: a column of event sequences under a front end's contract, over Arrow's offsets, row by row nowhere.

contract {"kind": "events", "length", "codes", "keep"} -> float32 (N, length, 3), lengths (N,)

Of each event: the seconds since the sequence's event before it (0 for the first; differences are taken in float64, since
float32 cannot tell the seconds of a year apart), the place of its code (0 padding, 1 unknown, then `codes` in order) and its
value (NaN: it has none; after an item's own events all three are 0). keep: `first` or `last`, which events of a long sequence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PADDING, UNKNOWN = 0, 1
KNOWN = 2  # place of the first code of the vocabulary


def decoded(array: pa.ListArray, contract: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The events (N, length, 3) of N sequences, and how many of them each has, at most `length`."""
    offsets = array.offsets.to_numpy().astype(np.int64)
    times, codes, values = array.flatten().flatten()
    starts, counts = offsets[:-1] - offsets[0], np.diff(offsets)
    columns = np.empty((len(times), 3), np.float32)
    columns[:, 0] = _since(times.to_numpy(zero_copy_only=False), starts[counts > 0])
    columns[:, 1] = places(codes, contract["codes"])
    columns[:, 2] = values.to_numpy(zero_copy_only=False)  # null: nan
    length = contract["length"]
    lengths = np.minimum(counts, length)
    if contract["keep"] == "last":
        starts = starts + counts - lengths
    data = np.zeros((len(array), length, 3), np.float32)
    own = np.arange(length) < lengths[:, None]
    data[own] = columns[(starts[:, None] + np.arange(length))[own]]
    return data, lengths


def places(codes: pa.Array, vocabulary: list[str]) -> np.ndarray:
    """The place of each code (N,) int64: 1 for one that the vocabulary lacks."""
    found = pc.index_in(codes, value_set=pa.array(vocabulary, pa.string())).fill_null(UNKNOWN - KNOWN)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.int64) + KNOWN


def _since(times: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Seconds since the event before, 0 at each of `starts`."""
    since = np.diff(times, prepend=times[:1])
    since[starts] = 0
    return since
