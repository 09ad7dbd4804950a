"""Columns of an unknown table: what each seems to hold, and what role its name and values suggest."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from stages.ingest.core.paths import SPLIT_NAMES

_ROLES = {
    "id": ("id", "key", "uid", "uuid", "index"),
    "split": ("split", "subset", "partition", "fold"),
    "group": ("group", "speaker", "patient", "subject", "user", "customer", "client", "person", "scene", "session", "site"),
}
_MOLECULE = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$:/\\.%*]{3,}")
_TIMES = ("time", "timestamp", "date", "when")
_MOST_CLASSES = 50
_LONG = 24  # characters on average, from which a column is text


@dataclass(frozen=True)
class Described:
    """A column by its values as text, empty ones left out.

    kind: class, number, text, molecule, time or other. role: id (unique), group or entity (a name of one, repeated), split, or
    none. places: the row of each value.
    """

    name: str
    kind: str
    role: str
    values: list[str]
    places: list[int]

    @property
    def repeats(self) -> bool:
        return len(set(self.values)) < len(self.values) / 2

    def constant_within(self, other: Described) -> bool:
        """Whether it has one value for each of the other's."""
        of = dict(zip(other.places, other.values))
        seen: dict[str, str] = {}
        return all(seen.setdefault(of[p], v) == v for p, v in zip(self.places, self.values) if p in of)


def described(rows: Sequence[Mapping[str, Any]]) -> list[Described]:
    """Every column of the rows."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name]
    return [_column(name, [(i, row[name]) for i, row in enumerate(rows) if _there(row.get(name))]) for name in names]


def _there(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))


def _column(name: str, cells: list[tuple[int, Any]]) -> Described:
    values = [str(v).strip() for _, v in cells]
    distinct = set(values)
    kind = _kind(name, [v for _, v in cells], values, distinct)
    return Described(name, kind, _role(name, kind, values, distinct), values, [i for i, _ in cells])


def _kind(name: str, cells: list[Any], values: list[str], distinct: set[str]) -> str:
    if not values or any(isinstance(c, (list, dict, bytes)) for c in cells):
        return "other"
    few = 1 <= len(distinct) <= min(_MOST_CLASSES, len(values) / 3 + 1)
    if all(_is_date(c) for c in cells[:200]) or (name.lower() in _TIMES and all(map(_is_number, values))):
        return "time"
    if all(map(_is_number, values)):
        whole = all(float(v).is_integer() for v in values)
        if whole and len(distinct) == len(values) > 20:
            return "other"  # it numbers the rows
        return "class" if whole and few and len(distinct) <= 20 else "number"
    if few:
        return "class"
    length = sum(map(len, values)) / len(values)
    if name.lower() in ("smiles", "molecule") and all(map(_MOLECULE.fullmatch, values[:200])):
        return "molecule"
    spaced = sum(" " in v for v in values) > len(values) / 2
    return "text" if spaced or length >= _LONG else "class" if len(distinct) < len(values) / 2 else "text"


def _role(name: str, kind: str, values: list[str], distinct: set[str]) -> str:
    words = re.split(r"[^a-z]+", name.lower())
    if distinct and {v.lower() for v in distinct} <= set(SPLIT_NAMES) and len(distinct) > 1:
        return "split"
    named = next((role for role, names in _ROLES.items() if set(words) & set(names)), "none")
    unique = len(distinct) == len(values) > 0
    if named == "group":
        return "id" if unique else "group"
    if named == "id":
        return "id" if unique else "entity"
    return "none"


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _is_date(value: Any) -> bool:
    if isinstance(value, (datetime, date)):
        return True
    text = str(value).strip()
    if len(text) < 8 or not re.match(r"\d{4}-?\d{2}", text) or text.isdigit():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
