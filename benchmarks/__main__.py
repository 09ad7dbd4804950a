"""python -m benchmarks [NAME ...] [--quick] [--long] [--no-write] [--list]: runs benchmarks and prints one table of ratios.

A name is a module of benchmarks/, or module:text for its cases that have the text in their name. Results go to
benchmarks/results/<machine>.json and from there into docs/speed.md, unless --quick or --no-write.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core import runner, table
from benchmarks.core.case import Case, Options
from benchmarks.core.row import Row

HERE = Path(__file__).resolve().parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "speed.md"
FIRST = ("simclr", "mae", "wav2vec2", "extract", "ingest", "probe", "knn", "rankme", "abx", "tracking", "memory")


def names() -> list[str]:
    """The modules that declare cases: the issue's aims first."""
    found = [p.stem for p in HERE.glob("*.py") if any(_declares(node) for node in ast.parse(p.read_text()).body)]
    return sorted(found, key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), n))


def _declares(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "cases"


def chosen(wanted: list[str], options: Options) -> Iterator[tuple[str, Case]]:
    """(module, case) of every case asked for. Exits where a name is unknown."""
    known = names()
    for text in wanted or known:
        name, _, part = text.partition(":")
        if name not in known:
            sys.exit(f"no benchmark {name!r}; there are {', '.join(known)}")
        cases: list[Case] = importlib.import_module(f"benchmarks.{name}").cases(options)
        yield from ((name, case) for case in cases if part in case.name)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, one round: shows that all runs, says nothing of speed"
    )
    parser.add_argument("--long", action="store_true", help="the lines of 10^6 rows too: hours")
    parser.add_argument("--no-write", action="store_true", help="only print the table")
    parser.add_argument("--list", action="store_true", help="the names of all cases")
    args = parser.parse_args(argv)
    mirror = os.environ.get("PRELUDE_MIRROR")
    options = Options(args.quick, args.long, Path(mirror) if mirror else None)
    picked = list(chosen(args.names, options))
    if args.list:
        print("\n".join(f"{name}:{case.name}" for name, case in picked))
        return 0
    return run(picked, options, write=not (args.quick or args.no_write))


def run(picked: list[tuple[str, Case]], options: Options, *, write: bool) -> int:
    """Runs the cases, prints the table and keeps it. Returns 1 where a way failed or two disagreed."""
    from flows.scoreboard import machine, revision

    rows: list[Row] = []
    version, kind = revision(HERE.parent), machine()
    for name, case in picked:
        begun, cpu = time.perf_counter(), runner.spent
        rows += runner.rows(name, case, options, version)
        taken = f"{time.perf_counter() - begun:.0f} s, {runner.spent - cpu:.0f} s of the processor"
        print(f"{name}:{case.name} {taken}", file=sys.stderr, flush=True)
    failed = [row for row in rows if row.verdict.startswith("FAILED")]
    for row in failed:
        print(f"{row.benchmark}: {row.what}: {row.verdict}", file=sys.stderr)
    if write:
        table.write(table.path(RESULTS, kind), kind, [row for row in rows if row not in failed], names())
        if PAGE.exists():
            table.document(PAGE, RESULTS)
    table.show(rows, f"{kind}, revision {version}{' (tiny sizes, one round: no measurement)' if options.quick else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
