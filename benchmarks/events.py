"""Events to arrays: a corpus' sequences through `media.decode`, block by block, beside a Python loop over rows and events.

Sequences of 10 to 119 events of 1,000 codes drawn by Zipf's law, a third without a value; cut to the last 64. Both ways give
the same numbers.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pyarrow as pa

ROWS, CODES, LENGTH, REPEATS, AIM = 20_000, 1000, 64, 3, 10.0
BLOCK = 1024  # rows decoded at a time in pretraining


def sequences() -> tuple[pa.Array, list[str]]:
    """The column as a corpus' shard has it, and its vocabulary, in which every tenth code is missing."""
    from stages.common.column import EVENT

    rng = np.random.default_rng(0)
    counts = rng.integers(10, 120, ROWS)
    offsets = np.concatenate([[0], counts.cumsum()])
    n = int(offsets[-1])
    names = pa.array([f"code//{i:04d}" for i in range(CODES)])
    weight = 1 / np.arange(1, CODES + 1)
    codes = names.take(pa.array(rng.choice(CODES, n, p=weight / weight.sum())))
    values = pa.array(rng.normal(size=n).astype(np.float32), mask=rng.random(n) < 1 / 3)
    events = pa.StructArray.from_arrays([pa.array(rng.exponential(60, n).cumsum()), codes, values], fields=list(EVENT))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), events), [
        c for i, c in enumerate(names.to_pylist()) if i % 10
    ]


def plain(rows: list[list[dict[str, Any]]], vocabulary: list[str]) -> np.ndarray:
    place = {code: 2 + i for i, code in enumerate(vocabulary)}
    out = np.zeros((len(rows), LENGTH, 3), np.float32)
    for row, events in zip(out, rows, strict=True):
        begin = max(0, len(events) - LENGTH)
        for i, event in enumerate(events[begin:]):
            at = begin + i
            row[i, 0] = event["time"] - events[at - 1]["time"] if at else 0.0
            row[i, 1] = place.get(event["code"], 1)
            row[i, 2] = np.nan if event["value"] is None else event["value"]
    return out


def main() -> None:
    from stages.common.column import Column
    from stages.common.media import decode

    stored, vocabulary = sequences()
    column = Column("events", "media", "events", classes=vocabulary)
    contract = {"kind": "events", "length": LENGTH, "codes": vocabulary, "keep": "last"}
    seconds: dict[str, list[float]] = {"media.decode": [], "plain Python, row by row": []}
    for _ in range(REPEATS):
        began = time.process_time()
        ours = np.concatenate([decode(stored.slice(i, BLOCK), column, contract).data for i in range(0, ROWS, BLOCK)])
        middle = time.process_time()
        loop = plain(stored.to_pylist(), vocabulary)
        seconds["media.decode"].append(middle - began)
        seconds["plain Python, row by row"].append(time.process_time() - middle)
        if not np.array_equal(ours, loop, equal_nan=True):
            raise SystemExit("the ways do not give the same numbers")
    ours_s = statistics.median(seconds["media.decode"])
    print(f"{ROWS} sequences of 10 to 119 events, median of {REPEATS}, seconds of CPU over all threads")
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        note = "" if name == "media.decode" else f"   ratio {middle / ours_s:5.1f} (aim {AIM:g})"
        print(f"  {name:26} {1e6 * middle / ROWS:7.2f} us/row{note}")


if __name__ == "__main__":
    main()
