"""One hostile item: a source that is broken or means harm, and the plan that reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ingest.making import put

Content = bytes | str | Callable[[], bytes]  # what is large is made when it is laid
Files = Mapping[str, Content]
OUTCOMES = frozenset({"corpus", "quarantine", "refused"})
REFUSED, QUARANTINE, CORPUS = (frozenset({name}) for name in ("refused", "quarantine", "corpus"))
WHOLE = {"split": {"by": "hash", "fractions": {"train": 1.0}}}
LONG = 1_000_000  # characters


@dataclass(frozen=True)
class Hostile:
    """files: what lies in the source's folder, or a function that puts it there. archive: that of them which is the source.

    outcomes: those that are right for this item; where it is hostile by hand, there is one. ids: of rows that must be in the
    corpus with the media that the sound source `sound` gives them, since nothing of theirs was touched.
    """

    name: str
    plan: Mapping[str, Any]
    files: Files | Callable[[Path], None]
    archive: str | None = None
    outcomes: frozenset[str] = OUTCOMES
    says: str = ""
    sound: str | None = None
    ids: tuple[str, ...] | None = field(default=None)

    def laid(self, folder: Path) -> dict[str, Any]:
        """Puts the files into a new folder; returns the plan of a corpus that reads them from there."""
        folder.mkdir(parents=True)
        if callable(self.files):
            self.files(folder)
        else:
            put(folder, {path: data() if callable(data) else data for path, data in self.files.items()})
        source: dict[str, Any] = {"name": "folder", "path": str(folder)}
        if self.archive is not None:
            source = {"name": "url", "url": str(folder / self.archive)}
        return {"quarantine_share": 1.0, **self.plan, "source": source}


@dataclass(frozen=True)
class Sound:
    """A small source that a reader takes whole. by_path: its items' ids are the paths of their files."""

    plan: Mapping[str, Any]
    files: Mapping[str, bytes]
    by_path: bool = False


def plan(reader: str, wanted: dict[str, str] | None = None, /, **arguments: Any) -> dict[str, Any]:
    """The plan of a reader, all in one split."""
    labels = {name: {"kind": kind} for name, kind in (wanted or {}).items()}
    return {"reader": {"name": reader, **arguments}, "labels": labels, **WHOLE}
