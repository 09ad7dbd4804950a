"""The live table of a run on a terminal: a row a stage, folded to its height; lines that stages print go above it."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from flows.board import Board, Row
from flows.screen import Screen, result
from flows.steps import Step

if TYPE_CHECKING:
    from rich.console import RenderableType

log = logging.getLogger("prelude.terminal")
INTERVAL_S = 0.5  # between two looks; what did not change is not drawn again
COLOURS = {"running": "bold cyan", "ran": "green", "restored": "green", "failed": "bold red", "skipped": "yellow"}
COLOURS |= {"stopped": "yellow"}
_WIDE = 100  # columns from which memory is shown now and at its peak
_LEAST_ROWS = 4
_FIGURE = 24  # columns: `37% loss 4.83 kNN 0.922`


class LiveTable(Screen):
    """Drawn by one thread, at most every INTERVAL_S. When the run is over the table stays, unfolded but for cached rows."""

    def __init__(self, board: Board, console: Console | None = None, interval: float = INTERVAL_S) -> None:
        self.board, self.console, self.interval = board, console or Console(highlight=False), interval
        self._live: Live | None = None
        self._redirected = contextlib.ExitStack()
        self._drawn: object = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="prelude-table", daemon=True)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._live is None:
            return
        try:
            if self._thread.is_alive():
                self._thread.join(timeout=5)
            self.board.stop()
            self._live.update(final(self.board, self.console.width))
        finally:
            self._redirected.close()
            live, self._live = self._live, None
            live.stop()  # draws it once more, and gives the cursor back
            self.console.show_cursor(True)

    def begin(self, names: Sequence[str]) -> None:
        self.board.begin(names)
        self._live = Live(
            console=self.console, auto_refresh=False, vertical_overflow="crop", redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        out, err = (
            self._redirected.enter_context(contextlib.closing(_Above(f, self._above))) for f in (sys.stdout, sys.stderr)
        )
        self._redirected.enter_context(contextlib.redirect_stdout(out))
        self._redirected.enter_context(contextlib.redirect_stderr(err))
        self._draw()
        self._thread.start()

    def started(self, name: str) -> None:
        self.board.started(name)

    def heard(self, name: str, line: str) -> None:
        if line.strip() and not self.board.heard(name, line):
            self._above(Text.assemble((f"  {name} | ", "dim"), Text.from_ansi(line)))

    def told(self, step: Step) -> None:
        self.board.told(step)
        if step.state == "failed":
            self._above(Text(result(step), style=COLOURS["failed"]))

    def say(self, line: str) -> None:
        self._above(Text(line))

    def _above(self, text: Text) -> None:
        """Printed once, in full: the terminal wraps it, so that a path can be copied whole."""
        self.console.print(text, soft_wrap=True)

    def _follow(self) -> None:
        while not self._stop.wait(self.interval):
            try:
                self._draw()
            except Exception:  # the view must never stop the work
                log.debug("the table was not drawn", exc_info=True)

    def _draw(self) -> None:
        rows, size = self.board.look(), self.console.size
        shown = (size, [cells(row, size.width) for row in rows], footer(self.board, rows))
        if self._live is not None and shown != self._drawn:
            self._drawn = shown
            self._live.update(table(self.board, rows, size.width, size.height), refresh=True)


class _Above(io.TextIOBase):
    """Stands for standard output or error: whole lines go above the table. No terminal, so that nobody draws bars on it."""

    def __init__(self, file: TextIO, above: Callable[[Text], None]) -> None:
        self.rich_proxied_file = file  # where rich's console finds the terminal
        self._print, self._held, self._writing = above, "", threading.Lock()

    def write(self, text: str) -> int:
        with self._writing:
            *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self._print(Text.from_ansi(line))
        return len(text)

    def fileno(self) -> int:
        return self.rich_proxied_file.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Lets go of what has no line end yet. Who still holds this goes on writing through it."""
        if self._held.strip():
            self.write("\n")


def table(board: Board, rows: list[Row], width: int, height: int) -> RenderableType:
    """The table and its last line, in `height` lines less one: the cursor's."""
    above, shown, below = folded(rows, max(_LEAST_ROWS, height - 3))
    return _drawn(above, shown, below, footer(board, rows), width)


def final(board: Board, width: int) -> RenderableType:
    """The table as it stays: all that was done, in any number of lines."""
    rows = board.look()
    hidden, waiting = [r for r in rows if r.state == "cached"], [r for r in rows if r.state == "waiting"]
    shown = [r for r in rows if r.state not in ("cached", "waiting")]
    return _drawn(_counts(hidden), shown, f"{len(waiting)} not started" if waiting else "", "", width)


def folded(rows: list[Row], lines: int) -> tuple[str, list[Row], str]:
    """(done stages left out, the rows to show in the graph's order, waiting stages left out), in so many lines.

    First come those at work and those that failed, then those that wait, next first; then what was done last.
    """
    if len(rows) <= lines:
        return "", rows, ""
    first = [r for r in rows if r.state in ("running", "failed", "stopped")]
    waiting = [r for r in rows if r.state == "waiting"]
    rest = [r for r in rows if r.done and r.state != "failed"]
    room = lines - bool(rest)
    crowded = len(first) + len(waiting) > room
    chosen = [*first, *waiting][: room - 1 if crowded else room]
    if not crowded:
        chosen += rest[len(rest) - (room - len(chosen)) :] if room > len(chosen) else []
    names = {r.name for r in chosen}
    shown = [r for r in rows if r.name in names]
    below = Counter(r.state for r in [*first, *waiting] if r.name not in names)
    more = ", ".join(f"{count} more {state}" for state, count in below.items())
    return _counts([r for r in rest if r.name not in names]), shown, more


def cells(row: Row, width: int) -> tuple[str, str, str, str, str, str]:
    """name, state, seconds, seconds left, memory, figure."""
    left = "" if row.left_s is None else f"{'~' if row.guessed and row.left_s >= 0.5 else ''}{clock(row.left_s)}"
    tried = f"running {row.tries}" if row.tries > 1 and row.state == "running" else row.state
    took = clock(row.seconds, exact=row.state != "running") if row.seconds else ""
    if row.state == "running" and width >= _WIDE:
        memory = f"{megabytes(row.now_mb)}/{megabytes(row.peak_mb)}"
    else:
        memory = megabytes(row.now_mb if row.state == "running" else row.peak_mb)
    return row.name, tried, took, left, memory, row.figure


def footer(board: Board, rows: list[Row]) -> str:
    """Elapsed time, what is done of what, and when the rest may be."""
    done, at_work = [r for r in rows if r.done], sum(r.state == "running" for r in rows)
    parts = [clock(board.clock() - board.began), f"{len(done)}/{len(rows)} done"]
    parts[1] += f" ({_counts(done)})" if done else ""
    parts += [f"{at_work} running"] if at_work else [] if done else ["getting ready"]
    left = board.left_s()
    if rows and len(done) == len(rows):
        parts.append("MLflow is being brought up to date")
    elif left is not None:
        parts.append(f"~{clock(left)} left")
    return "   ".join(parts)


def clock(seconds: float, exact: bool = False) -> str:
    """`8 s`, exactly `8.3 s`; `1:23`; `2:01:05`."""
    if seconds < 0.5 and not exact:
        return "<1 s"
    if seconds < 59.95 if exact else seconds < 59.5:
        return f"{seconds:.1f} s" if exact else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def megabytes(mb: float) -> str:
    """`312M`, `12.4G`; nothing where nothing is known."""
    return "" if mb < 0.5 else f"{mb:.0f}M" if mb < 9999.5 else f"{mb / 1024:.1f}G"


def shortened(name: str, width: int) -> str:
    """A long name without its middle: its ends tell it from others."""
    if len(name) <= width:
        return name
    tail = (width - 1) // 2
    return f"{name[: width - 1 - tail]}…{name[len(name) - tail :]}"


def _counts(rows: list[Row]) -> str:
    found = Counter(row.state for row in rows)
    return ", ".join(f"{found[state]} {state}" for state in ("cached", "restored", "ran", "failed", "skipped") if found[state])


def _drawn(above: str, rows: list[Row], below: str, last: str, width: int) -> RenderableType:
    """Lines of set columns: rich's own table measures every cell, which costs five times as much."""
    widths = (9, 7, 8, 11 if width >= _WIDE else 6)
    room = width - 1 - sum(widths) - 5  # for names and figures, beside a space after each other column
    name = max(12, min(max((len(row.name) for row in rows), default=0), room - _FIGURE))
    lines = [Text(f"… {above}", "dim")] if above else []
    lines.append(Text(_line(("stage", "state", "time", "left", "memory", "figure"), (name, *widths))[0], "dim"))
    for row in rows:
        words, (begin, end) = _line(cells(row, width), (name, *widths))
        line = Text(words, "dim" if row.state in ("waiting", "cached", "skipped") else "")
        line.stylize(COLOURS.get(row.state, ""), begin, end)
        lines.append(line)
    lines += [Text(f"… {below}", "dim")] if below else []
    lines += [Text(last, "bold")] if last else []
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _line(words: Sequence[str], widths: Sequence[int]) -> tuple[str, tuple[int, int]]:
    """The words in their columns, and where the state begins and ends."""
    name, state, took, left, memory, figure = words
    n, s, t, e, m = widths
    return f"{shortened(name, n):<{n}} {state:<{s}} {took:>{t}} {left:>{e}} {memory:>{m}} {figure}", (n + 1, n + 1 + len(state))
