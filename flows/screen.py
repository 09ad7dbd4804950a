"""What a run shows: plain lines, here, or a live table on a terminal; and at its end a summary."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from flows import leaks, verdicts
from flows.board import Board
from flows.steps import Step
from stages.common.workspace import Workspace

if TYPE_CHECKING:
    from flows.pipeline import Outcome

Print = Callable[[str], None]
WIDTH = 34
EVERY_S = 30.0  # between two lines of progress of one stage


class Screen:
    """Hears of a run, from several threads."""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        """The run is over; the summary is said after it."""

    def begin(self, names: Sequence[str]) -> None:
        """All stages of the run, in order."""

    def started(self, name: str) -> None:
        """Its command was started; a second call: tried again."""

    def heard(self, name: str, line: str) -> None:
        """A line that a stage prints."""

    def told(self, step: Step) -> None:
        """What became of a stage."""

    def say(self, line: str) -> None:
        """A line about the run as a whole."""


class Lines(Screen):
    """Plain lines: a stage's name, what became of it, its own lines under its name; now and then how far it is.

    say: hears them; None: standard output, and no library draws bars between them.
    """

    def __init__(self, say: Print | None, board: Board, every: float = EVERY_S) -> None:
        self._say, self.board, self.every = say or _print, board, every
        self._quiet = (
            contextlib.redirect_stderr(cast(TextIO, _NoTerminal(sys.stderr))) if say is None else contextlib.nullcontext()
        )
        self._last: dict[str, float] = {}  # when a stage was started, or its progress last said
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="prelude-lines", daemon=True)

    def __enter__(self) -> Lines:
        self._quiet.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._quiet.__exit__(None, None, None)
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def begin(self, names: Sequence[str]) -> None:
        self.board.begin(names)
        self._thread.start()

    def started(self, name: str) -> None:
        self._last[name] = self.board.clock()
        self.board.started(name)

    def heard(self, name: str, line: str) -> None:
        if line.strip() and not self.board.heard(name, line):
            self._say(f"  {name} | {line}")

    def told(self, step: Step) -> None:
        self._last.pop(step.name, None)
        self.board.told(step)
        self._say(result(step))

    def say(self, line: str) -> None:
        self._say(line)

    def _follow(self) -> None:
        while not self._stop.wait(min(1.0, self.every)):
            self.look()

    def look(self) -> None:
        """Says how far those stages are that were last heard of `every` seconds ago."""
        due = {name for name, at in list(self._last.items()) if self.board.clock() - at >= self.every}
        for row in self.board.look() if due else ():
            if row.name in due and row.step is not None and row.name in self._last:
                self._last[row.name] = self.board.clock()
                self._say(f"  {row.name} | {row.step.text()}")


def screen(say: Print | None, workspace: Workspace, memory: Callable[[str], float]) -> Screen:
    """What shows a run: plain lines to `say`; without it a live table on a terminal, plain lines to any other output."""
    board = Board(workspace, memory)
    if say is None and on_terminal():
        from flows.table import LiveTable  # it imports rich, which plain lines do not need

        return LiveTable(board)
    return Lines(say, board)


def on_terminal() -> bool:
    """Whether standard output can be written to more than line by line."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def result(step: Step) -> str:
    """What became of a stage, and why: `fit@probe   ran   1.2 s`."""
    took = f"{step.seconds:8.1f} s" if step.state in ("ran", "restored", "failed") else ""
    line = f"{step.name:<{WIDTH}} {step.state:<9}{took}".rstrip()
    if step.state == "skipped":
        return f"{line}   {step.error}"
    return line + "".join(f"\n    {part}" for part in step.error.splitlines())


def summary(outcome: Outcome, workspace: Workspace) -> Iterator[str]:
    """The last lines of a run: what ran, what was cached, the slowest three, failures, verdicts, and where to look."""
    restored = sum(step.state == "restored" for step in outcome.steps)
    counts = [f"{len(outcome.ran)} ran", f"{len(outcome.cached)} cached"]
    counts[1] += f" ({restored} restored)" if restored else ""
    counts += [f"{len(some)} {what}" for what, some in (("failed", outcome.failed), ("skipped", outcome.skipped)) if some]
    yield f"{', '.join(counts)} in {outcome.seconds:.1f} s"
    slowest = sorted((s for s in outcome.steps if s.state == "ran"), key=lambda s: -s.seconds)[:3]
    if len(slowest) > 1:
        yield "slowest: " + ", ".join(f"{s.name} {s.seconds:.1f} s" for s in slowest)
    for step in outcome.steps:
        if step.state == "failed":  # its cause, what to do and its log
            yield f"failed: {step.name}" + "".join(f"\n    {part}" for part in step.error.splitlines())
    found = [row.verdict for row in verdicts.read(workspace)]
    if found:
        yield "claims: " + ", ".join(f"{found.count(v)} {v}" for v in sorted(set(found)))
    yield from leaks.lines(workspace)
    for note in outcome.notes:
        yield f"note: {note}"
    page = workspace.page / "index.html"
    if page.is_file():
        yield f"report: {page}   MLflow: prelude ui   a node: prelude show {_shown(outcome)}"
    if outcome.failed:
        yield f"logs: {workspace.state / 'logs'}"
    if outcome.stopped:
        yield f"{outcome.stopped}; run it again to go on"


def _shown(outcome: Outcome) -> str:
    """The slowest encoder of this run, as an example; any node in words where there is none."""
    trained = [s for s in outcome.steps if s.state == "ran" and s.name.startswith("pretrain@")]
    return max(trained, key=lambda s: s.seconds).name if trained else "NODE"


class _NoTerminal:
    """A stream that says it is no terminal."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _print(line: str) -> None:
    print(line, flush=True)
