"""Ways for tests of the harness: they do nothing, and say what they are told to have measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.core.case import Run


def says(folder: Path, **measures: object) -> Run:
    return lambda: measures


def counts(folder: Path, start: float) -> Run:
    """seconds: start, start + 1 and so on: another in each run."""
    values: Iterator[float] = iter(start + i for i in range(100))
    return lambda: {"seconds": next(values), "pid": os.getpid()}


def writes(folder: Path, text: str) -> Run:
    """Appends to a file that the case's ways share, and tells all that is in it."""

    def run() -> dict[str, str]:
        with (folder / "log").open("a") as file:
            file.write(text)
        return {"log": (folder / "log").read_text()}

    return run


def holds(folder: Path, mib: int) -> Run:
    """Takes so much memory and lets go of it."""

    def run() -> dict[str, int]:
        taken = bytearray(mib << 20)
        taken[:: 1 << 12] = b"x" * len(taken[:: 1 << 12])  # every page
        return {"bytes": len(taken)}

    return run


def holds_less(folder: Path, mib: list[int]) -> Run:
    """Takes the next of these amounts in each run."""
    runs = iter([holds(folder, amount) for amount in mib])
    return lambda: next(runs)()


def fails(folder: Path) -> Run:
    def run() -> None:
        raise ValueError("it broke here")

    return run


def dies(folder: Path) -> Run:
    return lambda: os._exit(7)


def prepares(folder: Path, text: str) -> None:
    (folder / "log").write_text(text)
