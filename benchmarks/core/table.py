"""The table: on the terminal, as JSON by machine in results/, and in docs/speed.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.core.row import Row

COLUMNS = ("what", "against", "ratio: median [min, max]", "aim", "verdict")
BEGIN, END = "<!-- the table: begin (python -m benchmarks) -->", "<!-- the table: end -->"


def cells(row: Row) -> tuple[str, ...]:
    lines = row.verdict.strip().splitlines() or [""]
    shown = row.verdict if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"  # a traceback: its head and its end
    return row.what, row.against, row.range, row.aim, shown


def show(rows: Sequence[Row], title: str) -> None:
    """Prints the rows as one table."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    for column in COLUMNS:
        table.add_column(escape(column), overflow="fold")
    for row in rows:
        colour = {True: "green", False: "red", None: ""}[row.met]
        *first, last = (escape(cell) for cell in cells(row))
        table.add_row(*first, f"[{colour}]{last}[/]" if colour else last)
    Console(width=None if Console().is_terminal else 160).print(table)


def markdown(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def path(folder: Path, machine: str) -> Path:
    return folder / f"{machine.replace('/', '-')}.json"


def read(file: Path) -> dict[str, Any]:
    """{"machine", "rows"}; without rows where there is no such file."""
    if not file.exists():
        return {"machine": file.stem, "rows": []}
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def rows_of(file: Path) -> list[Row]:
    return [Row(**row) for row in read(file)["rows"]]


def write(file: Path, machine: str, rows: Sequence[Row], order: Sequence[str]) -> list[Row]:
    """Puts the rows of the cases that ran in place of their older ones, and keeps the others. Returns all, in order."""
    ran = {(row.benchmark, row.case) for row in rows}
    kept = [row for row in rows_of(file) if (row.benchmark, row.case) not in ran and row.benchmark in order]
    whole = sorted([*kept, *rows], key=lambda row: order.index(row.benchmark))
    file.parent.mkdir(parents=True, exist_ok=True)
    data = {"machine": machine, "rows": [asdict(row) for row in whole]}
    file.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return whole


def document(page: Path, folder: Path) -> None:
    """Writes the tables of all machines in `folder` between the page's two marks."""
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + "\n" + tables(folder) + END + rest.split(END)[1], encoding="utf-8")


def tables(folder: Path) -> str:
    made = ""
    for file in sorted(folder.glob("*.json")):
        rows = rows_of(file)
        revisions = ", ".join(sorted({row.revision for row in rows if row.revision}))
        made += f"\n### {read(file)['machine']}\n\nRevision {revisions}.\n\n{markdown(rows)}\n\n"
    return made
