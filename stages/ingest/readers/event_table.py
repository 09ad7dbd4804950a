"""Events as rows of a table, gathered to one item per entity: a patient, a customer, a machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from stages.common.corpus import Column
from stages.common.registry import part
from stages.ingest.core import moments
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.paths import SPLIT_NAMES
from stages.ingest.core.patterns import matching
from stages.ingest.core.rows import kind_of, rows_of

Event = tuple[float, str, float | None]


@part
class EventTable:
    """One item per value of `entity`: its events in order of time, as (seconds, code, value). id = group = the entity.

    Files are CSV, TSV, JSON lines or Parquet, as in the reader `table`. time: a column of numbers, or of dates and times (ISO
    8601; UTC where none is said), which become seconds since 1970. code: one column or several, joined by `//` (a kind and a
    product, say). value: a column of numbers, or none. static: columns that are the same in all of an entity's rows and serve
    as labels; an entity in which one differs is quarantined, and so is one with an event without a time or a code. group,
    split: columns of the same kind with these roles. Events of one time keep their order. until: the last moment that the table
    can know of (seconds or a date); an entity with an event after it is quarantined.
    """

    def __init__(
        self,
        *,
        entity: str,
        time: str,
        code: list[str],
        value: str | None = None,
        static: list[str] | None = None,
        group: str | None = None,
        split: str | None = None,
        files: list[str] | None = None,
        format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = "auto",
        delimiter: str | None = None,
        until: str | float | None = None,
    ) -> None:
        self.entity, self.time, self.code, self.value = entity, time, code, value
        self.static, self.group, self.split = static or [], group, split
        self.wanted, self.format, self.delimiter = matching(files or ["*"]), format, delimiter
        self.until = moments.limit(until)
        self.columns = [Column("events", "media", "events")]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        events: dict[str, list[Event]] = {}
        facts: dict[str, dict[str, Any]] = {}
        broken: dict[str, str] = {}
        for file in source.files().each(self.wanted):
            kind = self.format if self.format != "auto" else kind_of(file.path)
            if kind is None or kind == "npz":
                continue
            for row in rows_of(file, kind, self._needed(), None, self.delimiter):
                if isinstance(row, Broken):
                    yield row
                    continue
                entity = _text(row[self.entity])
                own = {name: row[name] for name in self._kept()}
                try:
                    events.setdefault(entity, []).append(self._event(row))
                except ValueError as error:
                    broken.setdefault(entity, str(error))
                for name, known in facts.setdefault(entity, own).items():
                    if known != own[name]:
                        broken.setdefault(entity, f"{name} is {known!r} in one row and {own[name]!r} in another")
        for entity in sorted(events.keys() | broken.keys()):
            if not entity or entity in broken:
                yield Broken(entity or "(without an entity)", broken.get(entity, f"no {self.entity}"))
                continue
            inorder = sorted(events[entity], key=lambda e: e[0])
            late = moments.future(inorder[-1][0], self.until)
            yield Broken(entity, late) if late else self._item(entity, inorder, facts[entity])

    def _needed(self) -> list[str]:
        return [self.entity, self.time, *self.code, *([self.value] if self.value else []), *self._kept()]

    def _kept(self) -> list[str]:
        return [*self.static, *(name for name in (self.group, self.split) if name)]

    def _event(self, row: Any) -> Event:
        parts = [_text(row[name]) for name in self.code]
        if not all(parts):
            raise ValueError(f"an event without a {self.code[parts.index('')]}")
        value = row[self.value] if self.value else None
        number = None if value is None or value == "" else float(value)
        return moments.seconds(row[self.time], self.time), "//".join(parts), number

    def _item(self, entity: str, events: list[Event], facts: dict[str, Any]) -> Item:
        split = _text(facts[self.split]) if self.split else ""
        return Item(
            entity,
            {"events": events},
            {name: facts[name] for name in self.static},
            group=_text(facts[self.group]) if self.group else entity,
            split=SPLIT_NAMES.get(split.lower(), split) or None,
        )


def _text(value: Any) -> str:
    """A cell as text; whole numbers that a table made floats lose their `.0`."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
