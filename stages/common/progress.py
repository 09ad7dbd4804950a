"""A progress bar on a terminal, plain lines elsewhere: steps/s, ETA and the loss."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Call `at(step, ...)` as often as you like; it prints at most every `every` seconds (a terminal: 10 times a second)."""

    def __init__(self, title: str, total: int, unit: str = "steps", every: float = 10.0, stream: TextIO | None = None) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.every = 0.1 if self.terminal else every
        self.started = self.printed = time.monotonic()
        self.first: int | None = None

    def at(self, step: int, **values: float) -> None:
        self.first = step if self.first is None else self.first
        self.total = max(self.total, step)  # one file may hold many items
        now = time.monotonic()
        if now - self.printed < self.every:
            return
        self.printed = now
        self.stream.write(
            ("\r\033[K" if self.terminal else "") + self.line(step, now, values) + ("" if self.terminal else "\n")
        )
        self.stream.flush()

    def line(self, step: int, now: float, values: dict[str, float]) -> str:
        rate = (step - (self.first or 0)) / max(now - self.started, 1e-9)
        left = f"{max(self.total - step, 0) / rate:.0f} s left" if rate > 0 else "..."
        bar = ""
        if self.terminal:
            done = min(20, int(20 * step / max(self.total, 1)))
            bar = "[" + "#" * done + "." * (20 - done) + "] "
        shown = "  ".join(f"{k} {v:.4g}" for k, v in values.items())
        return f"{self.title}: {bar}{step}/{self.total} {self.unit}  {rate:.1f}/s  {left}  {shown}".rstrip()

    def close(self) -> None:
        if self.terminal:
            self.stream.write("\r\033[K")
            self.stream.flush()
