"""What a folder or a table of a user's would become: a corpus plan to edit, and why it was written so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from stages.common.errors import UserError
from stages.ingest.core.columns import Described, described
from stages.ingest.core.files import File, FolderFiles
from stages.ingest.core.item import Broken
from stages.ingest.core.paths import METADATA, SPLIT_NAMES
from stages.ingest.core.rows import kind_of, rows_of

ROWS = 5000  # of a table that are looked at
CODES, SYMBOLS = 400, 4096  # of events and of texts that an encoder knows apart
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
SOUNDS = (".wav", ".flac", ".ogg")


@dataclass
class Guess:
    """A corpus plan as plain data, and notes on what led to it."""

    plan: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def guess(path: Path) -> Guess:
    """Looks at a folder or a file. Raises UserError where nothing there is data that a reader takes."""
    if path.is_file():
        folder, names = path.parent, [path.name]
    elif path.is_dir():
        folder, names = path, [f.path for f in FolderFiles(path).each()]
    else:
        raise UserError("there is no such file or folder", where=path)
    kinds = Counter(_kind(name) for name in names)
    source = {"name": "folder", "path": str(path)} if path.is_dir() else {"name": "url", "url": str(path)}
    metadata = [n for n in names if PurePosixPath(n).name in METADATA]
    if kinds["image"] or kinds["sound"]:
        return _media(source, "image" if kinds["image"] >= kinds["sound"] else "sound", names, metadata, path)
    tables = {n: _table(folder, n) for n in names if kind_of(n) not in (None, "npz")}
    if not tables:
        found = ", ".join(sorted({PurePosixPath(n).suffix or n for n in names})[:6]) or "nothing"
        do = "see docs/ingest.md for what readers take; images, sounds and tables are known here"
        raise UserError(f"no data that is known here: {found}", where=path, do=do)
    graph = _graph(tables)
    if graph is not None:
        return _finished(source, *graph, path)
    first = next(iter(tables))
    events = _events(tables[first], list(tables))
    return _finished(source, *(events or _rows(tables[first], list(tables))), path)


def _kind(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return "image" if suffix in IMAGES else "sound" if suffix in SOUNDS else "table" if kind_of(name) else "other"


def _table(folder: Path, name: str) -> list[Described]:
    file = File(name, (folder / name).stat().st_size, lambda: (folder / name).open("rb"))
    kind = kind_of(name) or ""
    rows = [r for r in islice(rows_of(file, kind, [], None, None), ROWS) if not isinstance(r, Broken)]
    return described(rows)


def _media(source: dict[str, Any], kind: str, names: list[str], metadata: list[str], path: Path) -> Guess:
    suffixes = IMAGES if kind == "image" else SOUNDS
    files = [n for n in names if n.lower().endswith(suffixes)]
    folders = Counter(PurePosixPath(n).parent.name for n in files if PurePosixPath(n).parent.name.lower() not in SPLIT_NAMES)
    declared = any(part.lower() in SPLIT_NAMES for n in files for part in PurePosixPath(n).parts[:-1])
    reader: dict[str, Any] = {"name": f"{'image' if kind == 'image' else 'audio'}_folder"}
    notes = [f"{len(files)} {kind}s"]
    if kind == "sound":
        notes.append("sounds of other rates than the first are refused: set `rate:` to resample")
    labels: dict[str, Any] = {}
    if metadata:
        found = [c for c in _table(path, metadata[0]) if c.name != "file_name"]
        labels = _labels(found)
        reader |= {role: c.name for role in ("group", "split") for c in found if c.role == role}
        declared = declared or "split" in reader
        notes.append(f"{metadata[0]} describes them: {', '.join(c.name for c in found)}")
    elif 1 < len(folders) <= len(files) / 2:
        labels = {"label": {"kind": "class"}}
        notes.append(f"{len(folders)} folders are taken as classes, such as {', '.join(sorted(folders)[:3])}")
    return _finished(source, reader, labels, declared, notes, path)


def _graph(tables: dict[str, list[Described]]) -> tuple[dict[str, Any], dict[str, Any], bool, list[str]] | None:
    """Two tables of which one names pairs of the other's ids."""
    if len(tables) != 2:
        return None
    for edges, nodes in (list(tables), list(tables)[::-1]):
        ids = next((c for c in tables[nodes] if c.role == "id"), None)
        text = next((c for c in tables[nodes] if c.kind == "text" and c is not ids), None)
        ends = [c for c in tables[edges] if ids is not None and c.values and set(c.values) <= set(ids.values)]
        if ids is None or text is None or len(ends) < 2:
            continue
        rest = [c for c in tables[nodes] if c not in (ids, text)]
        split = next((c.name for c in rest if c.role == "split"), None)
        reader: dict[str, Any] = {"name": "edge_list", "nodes": nodes, "edges": edges, "id": ids.name, "text": text.name}
        reader |= {"ends": [ends[0].name, ends[1].name], **({"split": split} if split else {})}
        notes = [f"a graph: {edges} names pairs of {ids.name} of {nodes}", f"its nodes' text is {text.name}"]
        return reader, _labels(rest), split is not None, notes
    return None


def _events(columns: Sequence[Described], files: list[str]) -> tuple[dict[str, Any], dict[str, Any], bool, list[str]] | None:
    """Rows with a time, a code, and an entity whose rows are many."""
    times = [c for c in columns if c.kind == "time" and c.role == "none"]
    time = max(times, key=lambda c: len(set(c.values)), default=None)
    entity = next((c for c in columns if c.repeats and c.role in ("group", "entity")), None) or _entity(columns, time)
    if time is None or entity is None:
        return None
    rest = [c for c in columns if c not in (time, entity)]
    static = [c for c in rest if c.constant_within(entity) and c.kind in ("class", "number")]
    codes = [c for c in rest if c not in static and c.kind == "class" and c.role != "split"]
    if not codes:
        return None
    value = next((c for c in rest if c not in static and c.kind == "number"), None)
    split = next((c.name for c in rest if c.role == "split" and c.constant_within(entity)), None)
    reader: dict[str, Any] = {"name": "event_table", "files": files, "entity": entity.name, "time": time.name}
    reader |= {"code": [c.name for c in codes], "static": [c.name for c in static if c.role != "split"]}
    reader |= {**({"value": value.name} if value else {}), **({"split": split} if split else {})}
    seen = f" (in the first {ROWS} rows)" if max(time.places, default=0) + 1 >= ROWS else ""
    notes = [f"events of {len(set(entity.values))} values of {entity.name}{seen}, at {time.name}"]
    notes.append(f"what happened: {' and '.join(reader['code'])}")
    labels = _labels([c for c in static if c.role != "split"])
    if labels:
        notes.append(f"the same in all rows of a {entity.name}, so labels: {', '.join(labels)}")
    return reader, labels, split is not None, notes


def _entity(columns: Sequence[Described], time: Described | None) -> Described | None:
    """Without a name that says so: the repeated column of most values that decides another one, as a day does its season."""
    if any(c.kind in ("text", "molecule") for c in columns):
        return None  # one item per row
    many = sorted(
        (c for c in columns if c is not time and c.kind in ("time", "class") and c.repeats), key=lambda c: -len(set(c.values))
    )
    rest = [c for c in columns if c is not time and c.kind == "class" and len(set(c.values)) > 1]
    return next((c for c in many if any(o is not c and o.constant_within(c) for o in rest)), None)


def _rows(columns: Sequence[Described], files: list[str]) -> tuple[dict[str, Any], dict[str, Any], bool, list[str]]:
    """One item per row."""
    reader: dict[str, Any] = {"name": "table", "files": files}
    reader |= {role: c.name for role in ("id", "group", "split") for c in columns if c.role == role}
    texts = [c for kind in ("molecule", "text") for c in columns if c.kind == kind and c.role not in ("id", "group", "split")]
    numbers = [c for c in columns if c.kind == "number" and c.role != "id"]
    if texts:
        reader["media"] = {c.name: {"kind": c.kind, "column": c.name} for c in texts[:1]}
        labels = _labels([c for c in columns if c not in texts])
        notes = [f"one item per row; what is encoded is {texts[0].name} ({texts[0].kind})"]
    elif numbers:
        reader["media"] = {"values": {"kind": "series", "columns": [c.name for c in numbers], "shape": [len(numbers), 1]}}
        labels = _labels([c for c in columns if c.kind == "class"])
        notes = [f"one item per row; its {len(numbers)} numbers are encoded as one series: leave out those that are labels"]
    else:
        found = ", ".join(f"{c.name} ({c.kind})" for c in columns)
        raise UserError(f"no column to encode: {found}", where=files[0], do="see docs/ingest.md, reader `table`")
    if "id" not in reader:
        notes.append("no column is unique, so an item's id is its file and row")
    return reader, labels, "split" in reader, notes


def _labels(columns: Sequence[Described]) -> dict[str, Any]:
    wanted = [c for c in columns if c.kind in ("class", "number") and c.role not in ("id", "group", "split", "entity")]
    return {c.name: {"kind": c.kind} for c in wanted if c.kind == "number" or len(set(c.values)) > 1}


def _finished(
    source: dict[str, Any], reader: dict[str, Any], labels: dict[str, Any], declared: bool, notes: list[str], path: Path
) -> Guess:
    classes = [name for name, label in labels.items() if label["kind"] == "class"]
    split: dict[str, Any] = {"by": "declared"}
    if not declared:
        split = {"by": "hash", "fractions": {"train": 0.7, "valid": 0.1, "test": 0.2}}
        if len(classes) == 1:
            split["stratify"] = classes[0]
        if "group" not in reader and reader["name"] not in ("event_table", "edge_list"):
            notes.append("no group is known: what belongs together (a speaker, a scene) may be parted; name it if there is one")
    plan: dict[str, Any] = {
        "title": path.stem,
        "licence": "unknown",
        "source": source,
        "reader": reader,
        "labels": labels,
        "split": split,
    }
    texts = any(media["kind"] == "text" for media in reader.get("media", {}).values())
    if reader["name"] == "event_table":
        plan["codes"] = CODES
        notes.append(f"`codes`: what an encoder tells apart, the {CODES} most frequent at most")
    elif reader["name"] == "edge_list" or texts:
        plan["tokenizer"] = {"kind": "wordpiece", "vocabulary": SYMBOLS}
        notes.append("`tokenizer`: how an encoder reads the texts")
    return Guess(plan, notes)
