"""A row of the table: the ratio of paired rounds, its median and range, and whether the aim is met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.core import peers
from benchmarks.core.case import Case, Line, Way

WHOLE = ("gap",)  # measures that are not of an item
Rounds = Mapping[str, Sequence[Mapping[str, Any]]]  # of each way what every run measured


@dataclass(frozen=True)
class Row:
    """ratio, low, high: median and range over the rounds; None where nothing was measured, and then `verdict` says why."""

    benchmark: str
    case: str
    what: str
    against: str
    ratio: float | None
    low: float | None
    high: float | None
    aim: str
    verdict: str
    met: bool | None  # None: there is no aim, or no ratio
    rounds: int = 0
    revision: str = ""
    samples: dict[str, list[float]] = field(default_factory=dict)  # of an item, by way

    @property
    def range(self) -> str:
        if self.ratio is None or self.low is None or self.high is None:
            return "-"
        return f"{figure(self.ratio)} [{figure(self.low)}, {figure(self.high)}]"


def figure(value: float) -> str:
    """Three digits, as many before the point as there are."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"


def of(name: str, case: Case, line: Line, rounds: Rounds) -> Row:
    """The line's row from what the ways measured."""
    ours = _per_item(rounds[line.ours], line.measure, case.ways[line.ours])
    if line.limit is not None:
        peer, theirs, against = "", [line.limit] * len(ours), limit(line)
    else:
        found = {p: _per_item(rounds[p], line.peer_measure or line.measure, case.ways[p]) for p in line.peers}
        peer = min(found, key=lambda p: statistics.median(found[p]))  # the better one
        theirs, against = found[peer], shown(case.ways[peer])
    ratios = paired(ours, theirs, line.ratio)
    middle = statistics.median(ratios)
    met = None if line.aim is None else line.aim.met(middle)
    samples = {line.ours: ours, **({peer: theirs} if peer and peer != line.ours else {})}
    what = f"{line.what}; {statistics.median(ours):.0f} MiB" if _is_memory(line.measure) else line.what
    aim = "" if line.aim is None else str(line.aim)
    return Row(
        name,
        case.name,
        what,
        against,
        middle,
        min(ratios),
        max(ratios),
        aim,
        verdict(line, middle),
        met,
        len(ours),
        samples=samples,
    )


def paired(ours: Sequence[float], theirs: Sequence[float], ratio: str) -> list[float]:
    """Of each round: theirs over ours (speed) or ours over theirs (cost)."""
    pairs = zip(ours, theirs, strict=True)
    return [t / o if ratio == "speed" else o / t for o, t in pairs]


def verdict(line: Line, ratio: float) -> str:
    if line.aim is None:
        return "no aim"
    if line.aim.met(ratio):
        return "met"
    return f"{line.aim.short(ratio)}: {line.why or 'why is not known'}"


def without(name: str, case: Case, line: Line, reason: str) -> Row:
    """A row that could not be measured."""
    against = ", ".join(case.ways[p].label for p in line.peers) or limit(line)
    aim = "" if line.aim is None else str(line.aim)
    return Row(name, case.name, line.what, against, None, None, None, aim, reason, None)


def limit(line: Line) -> str:
    return f"a limit of {line.limit:g} {line.unit}".strip()


def _is_memory(measure: str) -> bool:
    return measure.endswith("_mb")


def shown(way: Way) -> str:
    """The way's label with the versions of what it compares with."""
    versions = ", ".join(f"{n} {peers.version(n)}" for n in way.needs)
    return f"{way.label} ({versions})" if versions else way.label


def _per_item(runs: Sequence[Mapping[str, Any]], measure: str, way: Way) -> list[float]:
    items = 1 if _is_memory(measure) or measure in WHOLE else way.items
    return [float(run[measure]) / items for run in runs]
