"""Medical events in the MEDS layout: one row per event, gathered to one item per subject."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.common import parquet
from stages.common.corpus import Column
from stages.common.errors import UserError, unknown
from stages.common.registry import part
from stages.ingest.core import moments
from stages.ingest.core.files import File
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.patterns import matching
from stages.ingest.core.windows import Windows


@dataclass
class Events:
    """A file's events: subjects, times (s; -inf: none), codes as places in `names`, and values, each (N,)."""

    subjects: np.ndarray
    times: np.ndarray
    codes: np.ndarray
    names: pa.Array
    values: pa.Array

    def __post_init__(self) -> None:
        self.index = {name: i for i, name in enumerate(self.names.to_pylist())}


@part
class Meds:
    """One item per subject: its events in order of time, as (seconds since 1970, code, value). id = group = subject.

    Events without a time (static facts, by the MEDS convention) come first, at the time of the subject's first event. outcomes:
    {label: code pattern}; with a `*`, the label is what it stands for in the first matching code, else whether the code
    occurs. Matching events, and those that match `drop`, leave the stream, so that a label cannot be read off its own code.
    value: the column of values. A subject's events lie in one file. until: the last moment that the files can know of (seconds
    or a date); a subject with an event after it is quarantined.

    window: with it an item is so many events in a row of a subject, at most `windows` items each, spread evenly over its
    stream; id `<subject>-<event it begins at>`. The label `next` is then the kind of the event that follows: what stands before
    the `//` of its code, if it is among `kinds`, else `other`. A subject with too few events is quarantined.
    """

    def __init__(
        self,
        *,
        files: list[str] | None = None,
        subject: str = "subject_id",
        time: str = "time",
        code: str = "code",
        value: str = "numeric_value",
        outcomes: dict[str, str] | None = None,
        drop: list[str] | None = None,
        until: str | float | None = None,
        window: int | None = None,
        windows: int = 1,
        kinds: list[str] | None = None,
    ) -> None:
        if (window is not None and window < 1) or windows < 1:
            raise UserError(f"{windows} windows of {window} events", where="reader meds", do="write 1 or more")
        self.wanted, self.names = matching(files or ["*.parquet"]), (subject, time, code, value)
        self.outcomes = {
            k: (re.compile(fnmatch.translate(v).replace(".*", "(.*)")), "*" in v) for k, v in (outcomes or {}).items()
        }
        self.drop, self.until = matching(drop or []), moments.limit(until)
        self.windows = None if window is None else Windows(window, windows, tuple(kinds or ()))
        self.columns = [Column("events", "media", "events")]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        for file in source.files().each(self.wanted):
            events = self._events(file)
            order = np.lexsort((events.times, events.subjects))  # stable: events of one time keep the file's order
            of = events.subjects[order]
            for rows in np.split(order, np.flatnonzero(of[1:] != of[:-1]) + 1) if len(order) else []:
                item = self._item(events, rows)
                yield from [item] if isinstance(item, Broken) or self.windows is None else _cut(item, self.windows)

    def _events(self, file: File) -> Events:
        import pyarrow.compute as pc

        with (
            file.seekable() as stream,
            parquet.readable("the file is no readable Parquet", where=file.path, do="fetch it again"),
        ):
            table = parquet.read(stream)
        for name in self.names:
            if name not in table.column_names:
                raise unknown("column", name, table.column_names, where=file.path)
        subject, time, code, value = (table[n].combine_chunks() for n in self.names)
        if subject.null_count or code.null_count:
            raise UserError("events without a subject or a code", where=file.path)
        whole = pa.types.is_integer(subject.type) or pa.types.is_string(subject.type) or pa.types.is_large_string(subject.type)
        if not whole or not (pa.types.is_string(code.type) or pa.types.is_large_string(code.type)):
            what = f"subjects are {subject.type} and codes {code.type}"
            raise UserError(what, where=file.path, do="write whole numbers or text, and text")
        try:
            seconds = pc.cast(time.cast(pa.timestamp("us")), pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64) / 1e6
            values = value.cast(pa.float32())
        except pa.ArrowException as error:
            what = f"times are {time.type} and values {value.type}: {str(error).splitlines()[0]}"
            raise UserError(what, where=file.path, do="write timestamps and numbers") from None
        coded = code.dictionary_encode()
        return Events(
            subject.to_numpy(zero_copy_only=False),
            np.where(np.isnan(seconds), -np.inf, seconds),
            coded.indices.to_numpy(zero_copy_only=False),
            coded.dictionary,
            values,
        )

    def _item(self, events: Events, rows: np.ndarray) -> Item | Broken:
        subject = str(events.subjects[rows[0]])
        times = events.times[rows]
        if not np.isfinite(times[-1]):
            return Broken(subject, "no event has a time")
        if late := moments.future(float(times[-1]), self.until):
            return Broken(subject, late)
        present = events.names.take(pa.array(list(dict.fromkeys(events.codes[rows].tolist())))).to_pylist()
        labels = {name: _outcome(pattern, present, starred) for name, (pattern, starred) in self.outcomes.items()}
        patterns = [pattern for pattern, _ in self.outcomes.values()]
        gone = [c for c in present if self.drop(c) or any(p.match(c) for p in patterns)]
        stays = ~np.isin(events.codes[rows], [events.index[c] for c in gone])
        at = np.maximum(times, times[np.isfinite(times)][0])[stays]
        codes = events.names.take(pa.array(events.codes[rows][stays]))
        values = events.values.take(pa.array(rows[stays]))
        media = {"events": pa.StructArray.from_arrays([pa.array(at), codes, values], ["time", "code", "value"])}
        return Item(subject, media, labels, group=subject)


def _cut(item: Item, windows: Windows) -> Iterator[Item | Broken]:
    """The windows of a subject's events, each with the kind of event that follows it as the label `next`."""
    events = item.media["events"]
    starts = windows.starts(len(events))
    if not starts:
        yield Broken(item.id, f"{len(events)} events, and a window takes {windows.events} and one after it")
    for start in starts:
        stop = start + windows.events
        follows = windows.kind(events[stop]["code"].as_py())
        media = {"events": events.slice(start, windows.events)}
        yield Item(f"{item.id}-{start:07d}", media, {**item.labels, "next": follows}, group=item.group)


def _outcome(pattern: re.Pattern[str], codes: list[str], starred: bool) -> str | None:
    found = next((m for m in map(pattern.match, codes) if m), None)
    if not starred:
        return "yes" if found else "no"
    return found.group(1) if found else None
