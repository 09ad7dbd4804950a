"""Rows of tables as mappings, streamed: CSV, JSON lines, Parquet, NumPy archives."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from stages.common.errors import UserError, unknown
from stages.common.parquet import opened, readable
from stages.ingest.core.files import MAX_FILE, File, check_growth
from stages.ingest.core.item import Broken

Row = Mapping[str, Any]
_CELL = 1 << 26  # characters of one CSV cell, and of one line


def rows_of(
    file: File, kind: str, needed: Collection[str], names: list[str] | None, delimiter: str | None
) -> Iterator[Row | Broken]:
    """The rows of a table. Raises UserError for a column of `needed` that it lacks and for a file of another kind."""
    read = READERS[kind]
    try:
        yield from read(file, needed, names, delimiter)
    except UnicodeDecodeError as error:
        raise UserError(f"the file is not UTF-8 at byte {error.start}", where=file.path, do="save it as UTF-8") from None


def kind_of(path: str) -> str | None:
    """The kind of a table by its suffix, or None."""
    suffix = PurePosixPath(path.removesuffix(".gz")).suffix.lower()
    return {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}.get(
        suffix, suffix[1:] if suffix in (".parquet", ".npz") else None
    )


def _csv(file: File, needed: Collection[str], names: list[str] | None, delimiter: str | None) -> Iterator[Row | Broken]:
    csv.field_size_limit(_CELL)
    with _text(file) as text:
        lines = csv.reader(_lines(text, file), delimiter=delimiter or ",")
        try:
            header = names or next(lines, None)
            if not header:
                raise UserError("the table is empty", where=file.path)
            _check(needed, header, file)
            for cells in lines:
                if not cells:
                    continue
                if len(cells) != len(header):
                    yield Broken(f"{file.path}:{lines.line_num}", f"{len(cells)} cells, where the header has {len(header)}")
                else:
                    yield dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise UserError(f"the table cannot be read: {error}", where=f"{file.path}, line {lines.line_num}") from None


def _tsv(file: File, needed: Collection[str], names: list[str] | None, delimiter: str | None) -> Iterator[Row | Broken]:
    yield from _csv(file, needed, names, delimiter or "\t")


def _jsonl(file: File, needed: Collection[str], names: list[str] | None, delimiter: str | None) -> Iterator[Row | Broken]:
    checked = False
    with _text(file) as text:
        for number, line in enumerate(_lines(text, file), 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if not isinstance(row, dict):
                yield Broken(f"{file.path}:{number}", "not a JSON object")
                continue
            if not checked:
                _check(needed, row, file)
                checked = True
            yield dict.fromkeys(needed) | row  # a later row may lack what the first has


def _parquet(file: File, needed: Collection[str], names: list[str] | None, delimiter: str | None) -> Iterator[Row | Broken]:
    with file.seekable() as stream, readable("the file is no readable Parquet", where=file.path, do="fetch it again"):
        try:
            table = opened(stream)
            _check(needed, table.schema_arrow.names, file)
            for batch in table.iter_batches(1024, use_threads=False):
                yield from batch.to_pylist()
        except UnicodeDecodeError:
            raise UserError("a column of text is not UTF-8", where=file.path, do="store it as bytes, or mend it") from None


def _npz(file: File, needed: Collection[str], names: list[str] | None, delimiter: str | None) -> Iterator[Row | Broken]:
    """Arrays of equal first length, each read whole: an archive of arrays has no rows to stream."""
    import numpy as np

    with file.seekable() as stream:
        try:
            with zipfile.ZipFile(stream) as members:
                for member in members.infolist():
                    check_growth(member.file_size, member.compress_size, f"{file.path}: {member.filename}", MAX_FILE)
            stream.seek(0)
            packed = np.load(stream, allow_pickle=False)
            arrays = {name: np.asarray(packed[name]) for name in packed.files}
        except UserError:
            raise
        except Exception:  # NumPy's parser of headers raises whatever damaged bytes led it to
            raise UserError("the file is no readable archive of plain arrays", where=file.path) from None
    _check(needed, arrays, file)
    lengths = {name: len(a) for name, a in arrays.items() if a.ndim}
    if len({n for name, n in lengths.items() if not needed or name in needed}) > 1:
        raise UserError(f"the arrays differ in their first length: {lengths}", where=file.path)
    count = max((n for name, n in lengths.items() if not needed or name in needed), default=0)
    for i in range(count):
        yield {name: (a[i].item() if a.ndim == 1 else a[i]) for name, a in arrays.items() if lengths.get(name) == count}


@contextlib.contextmanager
def _text(file: File) -> Iterator[io.TextIOWrapper]:
    with file.open() as stream:
        plain = gzip.GzipFile(fileobj=stream) if file.path.endswith(".gz") else stream
        yield io.TextIOWrapper(plain, "utf-8-sig", newline="")


def _lines(text: io.TextIOWrapper, file: File) -> Iterator[str]:
    """Lines with their ends. Raises UserError for one that memory should not hold."""
    while line := text.readline(_CELL):
        if len(line) == _CELL and line[-1] not in "\r\n":
            raise UserError(f"a line of more than {_CELL} characters", where=file.path)
        yield line


def _check(needed: Collection[str], there: Collection[str], file: File) -> None:
    for name in needed:
        if name not in there:
            raise unknown("column", name, there, where=file.path)


READERS: dict[str, Callable[[File, Collection[str], list[str] | None, str | None], Iterator[Row | Broken]]] = {
    "csv": _csv,
    "tsv": _tsv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "npz": _npz,
}
