"""What a path says of an item: its split, class, group and labels. Shared by the readers of folders.

The conventions are those of Hugging Face's ImageFolder and AudioFolder: a folder named train, validation or test declares the
split, the folder right above a file is its class, and a metadata.csv or metadata.jsonl, with the column `file_name` relative to
itself, gives further columns. A regular expression with named groups takes over where names carry the facts.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from stages.common.errors import UserError, unknown
from stages.ingest.core.files import File, Files
from stages.ingest.core.item import Broken

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
METADATA = ("metadata.csv", "metadata.jsonl")
_KEYS = ("id", "group", "split")


@dataclass(frozen=True)
class Named:
    """What is known of a file before it is opened."""

    id: str
    group: str | None
    split: str | None
    labels: dict[str, Any]


@dataclass(frozen=True)
class PathRule:
    """pattern: searched in the whole path; its groups `id`, `group`, `split` are keys, all others labels.

    splits: {split: [values]} declares the split by the group `split` of the pattern, or else by the item's group.
    label: the name of the label that the class folder gives. group, split: columns of the metadata with these roles.
    """

    pattern: str | None = None
    splits: dict[str, list[str]] = field(default_factory=dict)
    label: str = "label"
    group: str | None = None
    split: str | None = None

    def walk(self, files: Files, suffixes: tuple[str, ...]) -> Iterator[tuple[File, Named] | Broken]:
        """The files with one of `suffixes` and what is known of them; one that metadata lack, or that lacks them, is broken."""
        expression = compiled(self.pattern) if self.pattern else None
        rows = _metadata(files)
        columns = list(dict.fromkeys(key for row in rows.values() for key in row))
        for role in (self.group, self.split):
            if role is not None and role not in columns:
                raise unknown("column", role, columns, where="metadata")
        met: set[str] = set()
        for file in files.each(lambda path: path.lower().endswith(suffixes)):
            if rows and file.path not in rows:
                yield Broken(file.path, "not listed in the metadata")
                continue
            if rows:
                met.add(file.path)
            found = expression.search(file.path) if expression else None
            if expression and not found:
                yield Broken(file.path, "its path does not match the pattern")
                continue
            yield file, self._named(file.path, found.groupdict() if found else {}, rows.get(file.path), columns)
        for path in sorted(rows.keys() - met):
            yield Broken(path, "listed in the metadata, not among the files")

    def _named(self, path: str, found: dict[str, Any], row: dict[str, Any] | None, columns: list[str]) -> Named:
        folder_split, folder_class = _folders(path)
        given = {c: (row or {}).get(c) for c in columns}
        captured = {k: v for k, v in found.items() if k not in _KEYS}
        group = str(given[self.group] or "") if self.group else found.get("group")
        split = str(given[self.split] or "") if self.split else found.get("split", folder_split)
        return Named(
            id=found.get("id") or path,
            group=group,
            split=self._split(split, group),
            labels={self.label: folder_class, **captured, **given},
        )

    def _split(self, split: str | None, group: str | None) -> str | None:
        if self.splits:
            value = split if split is not None else group
            return mapped_split(self.splits, value)
        return SPLIT_NAMES.get(split.lower(), split) if split else None


def mapped_split(splits: dict[str, list[str]], value: str | None) -> str:
    """The split whose list has `value`. Raises UserError."""
    for name, values in splits.items():
        if value in values:
            return name
    raise UserError(f"no split is given for {value!r}", where="reader.splits", do="add it to one of the lists")


def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression. Raises UserError."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern is no regular expression: {error}", where="reader.pattern") from None


def _folders(path: str) -> tuple[str | None, str | None]:
    """The split and the class that the folders of a path name."""
    folders = [f for f in path.split("/")[:-1] if f not in ("", ".")]
    named = [f for f in folders if f.lower() in SPLIT_NAMES]
    split = SPLIT_NAMES[named[0].lower()] if named else None
    last = folders[-1] if folders else None
    return split, None if last in named else last


def _metadata(files: Files) -> dict[str, dict[str, Any]]:
    """Rows of all metadata files by the path of the file that each describes."""
    rows: dict[str, dict[str, Any]] = {}
    for file in files.each(lambda path: path.rpartition("/")[2] in METADATA):
        folder = PurePosixPath(file.path).parent
        try:
            text = file.read().decode("utf-8-sig")
            read = [json.loads(x) for x in text.splitlines() if x.strip()] if file.path.endswith("l") else _csv(text)
        except (UnicodeDecodeError, ValueError, csv.Error) as error:
            raise UserError(f"the metadata cannot be read: {error}", where=file.path) from None
        except RecursionError:
            raise UserError("the metadata are nested too deep", where=file.path) from None
        for row in read:
            name = row.pop("file_name", None) if isinstance(row, dict) else None
            if not name:
                raise UserError("a row has no `file_name`", where=file.path, do="name the file, from the metadata's folder")
            rows[(folder / str(name)).as_posix()] = row
    return rows


def _csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))
