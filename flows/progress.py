"""How far a running stage is: from the live events of its seeds, or from the progress lines that it prints."""

from __future__ import annotations

import bisect
import heapq
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common.workspace import Workspace

_TAIL = 1 << 16  # bytes: some minutes of events, so that the rate holds pauses for measuring too
_NEWEST = 16  # events whose values are looked at: a measure is not in every event
_SLACK_S = 0.1  # a file's clock may lag behind the system's
_LINE = re.compile(r"(?P<title>[^:]+): (?P<step>\d+)/(?P<steps>\d+) (?P<unit>\w+)  [\d.]+/s  (?:\d+ s left|\.\.\.)")


@dataclass(frozen=True)
class Progress:
    """Steps done of all seeds together, of how many; seconds left (None: unknown); the last values, by name."""

    step: int
    steps: int
    left_s: float | None
    values: dict[str, float]

    @property
    def loss(self) -> float | None:
        """What is optimised: `total` in live events, `loss` in records."""
        return self.values.get("loss", self.values.get("total"))

    @property
    def share(self) -> float:
        return self.step / max(self.steps, 1)

    def text(self) -> str:
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        loss = "" if self.loss is None else f", loss {self.loss:.4g}"
        return f"step {self.step}/{self.steps}{loss}{left}"


@dataclass(frozen=True)
class _Seed:
    """One seed's newest event. rate: steps per second (None: unknown); values: the newest by name, with their clocks."""

    at: float
    step: int
    steps: int
    digest: str
    rate: float | None
    values: dict[str, tuple[float, float]]


def read(workspace: Workspace, stage: str, key: str, seeds: int | None = None, since: float = 0.0) -> Progress | None:
    """None if no seed has said anything yet. seeds: how many there will be, if known: those to come count as not begun.

    since: when the stage was started (time.time()): files that an earlier run left do not count, nor does its time.
    """
    found = [seed for path in sorted(workspace.live(stage, key).glob("seed=*.jsonl")) if (seed := _seed(path, since))]
    if not found:
        return None
    newest = max(found, key=lambda seed: seed.at)
    mine = [seed for seed in found if seed.digest == newest.digest]  # the others are of another plan
    count = max(len(mine), seeds or 0)
    values: dict[str, tuple[float, float]] = {}
    for name, pair in (item for seed in mine for item in seed.values.items()):
        values[name] = max(values.get(name, pair), pair)
    left = _left(mine, count - len(mine), time.time())
    return Progress(sum(s.step for s in mine), newest.steps * count, left, {k: v for k, (_, v) in values.items()})


def _left(begun: list[_Seed], to_come: int, now: float) -> float | None:
    """Seconds until all seeds are done: each goes on at its rate, those to come take the places of those that end."""
    rates = [s.rate for s in begun if s.rate]
    if not rates:
        return 0.0 if not to_come and all(s.step >= s.steps for s in begun) else None
    usual = sum(rates) / len(rates)
    lanes = [max(0.0, (s.steps - s.step) / (s.rate or usual) - (now - s.at)) for s in begun if s.step < s.steps] or [0.0]
    heapq.heapify(lanes)
    for _ in range(to_come):
        heapq.heappush(lanes, heapq.heappop(lanes) + begun[0].steps / usual)
    return max(lanes)


def _seed(path: Path, since: float) -> _Seed | None:
    """None for a file that holds no whole event, or was last written before `since`."""
    try:
        with path.open("rb") as file:
            if path.stat().st_mtime < since - _SLACK_S:
                return None
            file.seek(max(0, path.stat().st_size - _TAIL))
            cut, lines = file.tell() > 0, file.read().split(b"\n")
    except OSError:
        return None
    lines = [line for line in lines[1 if cut else 0 :] if line]
    newest = [event for line in lines[-_NEWEST:] if (event := _event(line))]
    if not newest:
        return None
    last = newest[-1]
    lines = lines[: len(lines) if _event(lines[-1]) else -1]
    first = lines[bisect.bisect_left(lines[:-1], since, key=lambda line: (_event(line) or last)["at"])]
    began = _event(first) or last
    took, moved = last["at"] - began["at"], int(last["step"]) - int(began["step"])
    values = {k: (e["at"], float(v)) for e in newest for k, v in e["values"].items() if v is not None}
    rate = moved / took if took > 0 and moved > 0 else None
    return _Seed(last["at"], int(last["step"]), int(last["steps"]), str(last["digest"]), rate, values)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event: dict[str, Any] = json.loads(line)
    except ValueError:  # cut short by a kill, or still being written
        return None
    return event


@dataclass
class Printed:
    """Progress by the lines that a stage prints, such as `extract seed 0: 512/1797 items  96.1/s  13 s left`."""

    seeds: int = 1
    unit: str = ""
    _by_title: dict[str, tuple[int, int]] = field(default_factory=dict)

    def hear(self, line: str) -> bool:
        """Whether the line is one of progress; it is taken note of."""
        found = _LINE.match(line)
        if found is None:
            return False
        self.unit = found["unit"]
        self._by_title[found["title"]] = (int(found["step"]), int(found["steps"]))
        return True

    def after(self, seconds: float) -> Progress | None:
        """How far it is so long after its start; None if there was no such line."""
        if not self._by_title:
            return None
        count = max(self.seeds, len(self._by_title))
        step = sum(done for done, _ in self._by_title.values())
        steps = max(total for _, total in self._by_title.values()) * count
        return Progress(step, steps, seconds / step * (steps - step) if step else None, {})
