"""Runs a case: its ways in turn, each in its own process, and draws the lines."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.core import peers, row
from benchmarks.core.case import Case, Options, Run, Way
from benchmarks.core.row import Row
from benchmarks.core.session import Measured, Session, WayFailed

spent = 0.0  # processor seconds of all processes that have ended


class Disagreement(RuntimeError):
    """Two ways of a case do not give the same."""


def rows(name: str, case: Case, options: Options, revision: str = "") -> list[Row]:
    """A row for each line of the case, whatever happens: a peer that is missing or a way that fails is told in its lines."""
    if case.slow and options.quick:
        return [row.without(name, case, line, "not run: --quick leaves it out") for line in case.lines]
    lacking = {key: lost for key, way in case.ways.items() if (lost := peers.missing(way.needs))}
    absent = {line: sorted({n for key in (line.ours, *line.peers) for n in lacking.get(key, [])}) for line in case.lines}
    wanted = [line for line in case.lines if not absent[line]]
    used = {key for line in wanted for key in (line.ours, *line.peers)}
    found: dict[str, list[Measured]] = {}
    problem = ""
    try:
        if used:
            found = measure(case, {k: w for k, w in case.ways.items() if k in used}, options)
            agree(case, found)
    except (WayFailed, Disagreement) as error:
        problem = f"FAILED: {str(error).strip()}"
    made = []
    for line in case.lines:
        if absent[line]:
            reason = f"no peer: {', '.join(absent[line])} not installed (`make bench` does it)"
            made.append(row.without(name, case, line, reason))
        elif problem:
            made.append(row.without(name, case, line, problem))
        else:
            made.append(row.of(name, case, line, found))
    if options.quick:
        made = [r if r.ratio is None else replace(r, verdict="ran", met=None) for r in made]
    return [replace(r, revision=revision) for r in made]


def measure(case: Case, ways: Mapping[str, Way], options: Options) -> dict[str, list[Measured]]:
    """What each way measured in each round; the order of the ways is turned round from round to round. Raises WayFailed."""
    count = 1 if options.quick else case.rounds
    warm = 0 if case.fresh or options.quick else case.warm
    found: dict[str, list[Measured]] = {key: [] for key in ways}
    with tempfile.TemporaryDirectory(prefix="prelude-bench-") as temporary:
        folder = Path(temporary)
        if case.prepare is not None:
            _prepared(case, folder)
        kept: dict[str, Session] = {}
        try:
            if not case.fresh:
                kept = {key: Session(way, folder, clean=False) for key, way in ways.items()}
                for session in kept.values():
                    session.ready()
            for at in range(-warm, count):
                for key in ways if at % 2 == 0 else reversed(list(ways)):
                    result = kept[key].run() if kept else _once(ways[key], folder, clean=not options.quick)
                    if at >= 0:
                        found[key].append(result)
        finally:
            for session in kept.values():
                _close(session)
    return found


def agree(case: Case, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raises Disagreement unless all runs of all ways that return a value of `same` return the same."""
    for name in case.same:
        values = [(key, run[name]) for key, runs in found.items() for run in runs if name in run]
        for key, value in values:
            first = values[0][1]
            numbers = isinstance(value, float) and isinstance(first, float)
            if not (math.isclose(value, first, rel_tol=case.tolerance) if numbers else value == first):
                raise Disagreement(f"{name} of {values[0][0]!r} is {first}, of {key!r} {value}")


def _once(way: Way, folder: Path, *, clean: bool) -> Measured:
    session = Session(way, folder, clean=clean)
    try:
        session.ready()
        return session.run()
    finally:
        _close(session)


def _close(session: Session) -> None:
    global spent
    session.close()
    spent += session.cpu


def _prepared(case: Case, folder: Path) -> None:
    way = Way("preparation", _preparing, {"prepare": case.prepare, "arguments": dict(case.arguments)}, threads=2)
    session = Session(way, folder, clean=False)
    try:
        session.ready()
        session.run()
    finally:
        _close(session)


def _preparing(folder: Path, prepare: Any, arguments: Mapping[str, Any]) -> Run:
    return lambda: prepare(folder, **arguments)
