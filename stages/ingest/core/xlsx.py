"""The cells of an Excel workbook (.xlsx): a zip of XML. Values only; no formulas, styles or dates."""

from __future__ import annotations

import re
import zipfile
from typing import IO
from xml.etree import ElementTree

from stages.common.errors import UserError
from stages.ingest.core.files import DAMAGE

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_MAX = 64 << 20  # bytes of one member, unpacked
_TAGS = 4 << 20  # of one member: an element takes a hundred times the room of its shortest tag
_COLUMN = re.compile(r"[A-Z]+")

Sheet = list[dict[str, str]]  # rows: column letter to text


def sheets(stream: IO[bytes], where: str) -> dict[str, Sheet]:
    """Sheets by name, in the workbook's order. Raises UserError."""
    try:
        with zipfile.ZipFile(stream) as book:
            strings = (
                [_text(s) for s in _xml(book, "xl/sharedStrings.xml")] if "xl/sharedStrings.xml" in book.namelist() else []
            )
            targets = {r.get("Id"): r.get("Target", "") for r in _xml(book, "xl/_rels/workbook.xml.rels")}
            found = {}
            for sheet in _xml(book, "xl/workbook.xml").iter(f"{_MAIN}sheet"):
                path = targets[sheet.get(_REL)].removeprefix("/xl/")
                found[sheet.get("name", "")] = [_row(r, strings) for r in _xml(book, f"xl/{path}").iter(f"{_MAIN}row")]
            return found
    except (*DAMAGE, ElementTree.ParseError, LookupError, ValueError, OSError, RuntimeError, AttributeError):
        raise UserError("the workbook cannot be read", where=where, do="save it as .xlsx again") from None


def _xml(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if book.getinfo(name).file_size > _MAX:
        raise ValueError(name)
    text = book.read(name)
    if text.count(b"<") > _TAGS:
        raise ValueError(name)
    return ElementTree.fromstring(text)


def _row(row: ElementTree.Element, strings: list[str]) -> dict[str, str]:
    cells = {}
    for cell in row.iter(f"{_MAIN}c"):
        value = cell.find(f"{_MAIN}v")
        text = _text(cell) if cell.get("t") == "inlineStr" else value.text if value is not None else None
        column = _COLUMN.match(cell.get("r", ""))
        if text is not None and column:
            cells[column.group()] = strings[int(text)] if cell.get("t") == "s" else text
    return cells


def _text(element: ElementTree.Element) -> str:
    return "".join(t.text or "" for t in element.iter(f"{_MAIN}t"))
