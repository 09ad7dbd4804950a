"""Where a run stands: one row a stage, kept up to date from what the run tells and from what running stages leave to read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flows import figures, progress
from flows.steps import Step
from stages.common import atomic
from stages.common import plan as plans
from stages.common.errors import UserError
from stages.common.workspace import Workspace

Memory = Callable[[str], float]
DONE = ("cached", "restored", "ran", "failed", "skipped")


@dataclass
class Row:
    """One stage. state: waiting, running, stopped or a step's.

    left_s: seconds left (None: unknown); where `guessed`, by the last run's duration. now_mb, peak_mb: memory. figure: its key
    metric, in words. tries: how often its command was started. step: how far it is, if it tells.
    """

    name: str
    state: str = "waiting"
    seconds: float = 0.0
    left_s: float | None = None
    guessed: bool = False
    now_mb: float = 0.0
    peak_mb: float = 0.0
    figure: str = ""
    tries: int = 0
    step: progress.Progress | None = None

    @property
    def done(self) -> bool:
        return self.state in DONE


@dataclass
class _Running:
    """What is known of a stage at work, beside its row. at: the clock and the system's time when its command was started."""

    at: float
    since: float
    printed: progress.Printed
    values: dict[str, float] = field(default_factory=dict)


class Board:
    """Rows in the graph's order. Told of by several threads; `look` brings running rows up to date, `rows` is a copy."""

    def __init__(self, workspace: Workspace, memory: Memory, clock: Callable[[], float] = time.monotonic) -> None:
        self.workspace, self.clock = workspace, clock
        self._memory = memory
        self._lock = threading.Lock()
        self._rows: dict[str, Row] = {}
        self._running: dict[str, _Running] = {}
        self._usual: dict[str, float] = {}  # seconds that a stage took the last time, where its record says so
        self._seeds: dict[str, int] = {}
        self._worked = 0.0  # seconds of stages that are done
        self.began = clock()

    def begin(self, names: Sequence[str]) -> None:
        """All stages of the run. Records are read now: a stage's own is gone while it runs."""
        usual = {name: took for name in names if (took := _duration(self._record(name))) is not None}
        with self._lock:
            self._usual, self._seeds = usual, _seeds(self.workspace)
            self._rows = {name: Row(name, left_s=usual.get(name), guessed=name in usual) for name in names}

    def started(self, name: str) -> None:
        """Its command was started; a second call: tried again."""
        with self._lock:
            row = self._rows.setdefault(name, Row(name))
            row.state, row.tries = "running", row.tries + 1
            now = self.clock()
            self._running[name] = _Running(now, time.time(), progress.Printed(self._seeds.get(name, 1)))

    def heard(self, name: str, line: str) -> bool:
        """Whether the line is one of progress, which the row shows."""
        with self._lock:
            return name in self._running and self._running[name].printed.hear(line)

    def told(self, step: Step) -> Row:
        """What became of a stage."""
        record = self._record(step.name) if step.state in ("cached", "restored", "ran") else None
        with self._lock:
            row = self._rows.setdefault(step.name, Row(step.name))
            self._running.pop(step.name, None)
            row.state, row.left_s, row.guessed, row.now_mb, row.step = step.state, None, False, 0.0, None
            if step.state in ("ran", "restored", "failed"):
                row.seconds, row.peak_mb = step.seconds, max(step.peak_mb, row.peak_mb)
                self._worked += step.seconds
            row.figure = next(iter(step.error.splitlines()), "") if record is None else _headline(record)
            return replace(row)

    def stop(self) -> None:
        """The run ends: what still ran was stopped."""
        with self._lock:
            for name in self._running:
                row = self._rows[name]
                row.state, row.left_s, row.now_mb = "stopped", None, 0.0
            self._running.clear()

    def look(self) -> list[Row]:
        """A copy of all rows, after those at work were brought up to date."""
        with self._lock:
            at_work = dict(self._running)
        found = {name: self._progress(name, running) for name, running in at_work.items()}
        with self._lock:
            for name, now in found.items():
                if name in self._running:
                    self._update(self._rows[name], self._running[name], now)
            return [replace(row) for row in self._rows.values()]

    def left_s(self) -> float | None:
        """Seconds until the run is done, if each stage to come has a guess: as many side by side as so far; else None.

        The report does not count: it keeps no record, and takes seconds.
        """
        with self._lock:
            left = [row.left_s for row in self._rows.values() if not row.done and row.name != "report"]
            known = [seconds for seconds in left if seconds is not None]
            gone = max(self.clock() - self.began, 1e-9)
            busy = self._worked + sum(self.clock() - running.at for running in self._running.values())
        if not left or len(known) < len(left):
            return None
        return max(*known, sum(known) / max(1.0, busy / gone), 0.0)

    def _progress(self, name: str, running: _Running) -> progress.Progress | None:
        stage, _, key = name.rpartition("@")
        now = progress.read(self.workspace, stage or key, key, self._seeds.get(name), running.since)
        return now or running.printed.after(self.clock() - running.at)

    def _update(self, row: Row, running: _Running, now: progress.Progress | None) -> None:
        row.seconds = self.clock() - running.at
        row.now_mb = self._memory(row.name)
        row.peak_mb = max(row.peak_mb, row.now_mb)
        row.step = now
        usual = self._usual.get(row.name)
        if now is not None and now.left_s is not None:
            row.left_s, row.guessed = now.left_s, False
        else:  # longer than the last time: nobody knows
            row.left_s = usual - row.seconds if usual is not None and usual > row.seconds else None
            row.guessed = row.left_s is not None
        if now is not None:
            running.values.update(now.values)
            row.figure = _so_far(replace(now, values=running.values), running.printed.unit)

    def _record(self, name: str) -> dict[str, Any] | None:
        stage, _, key = name.rpartition("@")
        try:
            found = atomic.read_json(self.workspace.record(stage or key, key) / "record.json")
        except UserError:
            return None
        return found if isinstance(found, dict) else None


def _so_far(now: progress.Progress, unit: str) -> str:
    """How far a running stage is: its share, the loss and the online kNN; or what it has gone through."""
    knn = next((value for name, value in now.values.items() if name.startswith("knn")), None)
    parts = [f"{now.share:.0%}"]
    parts += [f"loss {figures.number(now.loss)}"] if now.loss is not None else []
    parts += [f"kNN {figures.number(knn)}"] if knn is not None else []
    return " ".join(parts) if len(parts) > 1 else f"{now.step:,}/{now.steps:,} {unit or 'steps'}"


def _headline(record: dict[str, Any]) -> str:
    try:
        return figures.headline(record)
    except (KeyError, TypeError, ValueError, AttributeError):  # a record of another version: its figure is not worth a run
        return ""


def _duration(record: dict[str, Any] | None) -> float | None:
    try:
        return None if record is None else float(record["timings"]["total_s"])
    except (KeyError, TypeError, ValueError):
        return None


def _seeds(workspace: Workspace) -> dict[str, int]:
    """How many seeds a stage goes through, by name, as far as the plan says."""
    try:
        plan = plans.load(workspace.root / "params.yaml")
    except UserError:
        return {}
    found = {f"pretrain@{key}": len(node.seeds) for key, node in plan.encoders.items()}
    for key, node in plan.features.items():
        found[f"extract@{key}"] = len(plan.encoders[node.encoder].seeds) if node.encoder in plan.encoders else 1
    return found
