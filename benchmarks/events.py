"""Events to arrays: a corpus' sequences through `media.decode`, block by block, beside a Python loop over rows and events.

Sequences of 10 to 119 events of 1,000 codes drawn by Zipf's law, a third without a value; cut to the last 64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least
from benchmarks.core.values import digest

CODES, LENGTH = 1000, 64
BLOCK = 1024  # rows decoded at a time in pretraining


def cases(options: Options) -> list[Case]:
    rows = 500 if options.quick else 20_000
    ways = {
        "ours": Way("media.decode", ours, {"rows": rows}, items=rows),
        "loop": Way("plain Python, row by row", theirs, {"rows": rows}, items=rows),
    }
    line = Line(f"events of {rows} sequences to arrays", "ours", ("loop",), aim=at_least(10), measure="cpu_s")
    return [Case("decode", ways, (line,), same=("digest",))]


def sequences(rows: int) -> tuple[pa.Array, list[str]]:
    """The column as a corpus' shard has it, and its vocabulary, in which every tenth code is missing."""
    from stages.common.column import EVENT

    rng = np.random.default_rng(0)
    counts = rng.integers(10, 120, rows)
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


def ours(folder: Path, rows: int) -> Run:
    from stages.common.column import Column
    from stages.common.media import decode

    stored, vocabulary = sequences(rows)
    column = Column("events", "media", "events", classes=vocabulary)
    contract = {"kind": "events", "length": LENGTH, "codes": vocabulary, "keep": "last"}

    def run() -> dict[str, Any]:
        blocks = [decode(stored.slice(i, BLOCK), column, contract).data for i in range(0, rows, BLOCK)]
        found = np.concatenate(blocks)
        return {"digest": lambda: digest(found)}

    return run


def theirs(folder: Path, rows: int) -> Run:
    stored, vocabulary = sequences(rows)

    def run() -> dict[str, Any]:
        found = plain(stored.to_pylist(), vocabulary)
        return {"digest": lambda: digest(found)}

    return run


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
