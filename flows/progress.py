"""How far a running stage is, from the live events of its seeds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.workspace import Workspace

_TAIL = 4096  # bytes: the last event and more


@dataclass(frozen=True)
class Progress:
    """Steps done of all seeds together, of how many; seconds left (None: unknown); the last values, by name."""

    step: int
    steps: int
    left_s: float | None
    values: dict[str, float]

    def text(self) -> str:
        left = "" if self.left_s is None else f", {self.left_s:.0f} s left"
        loss = f", loss {self.values['loss']:.4g}" if "loss" in self.values else ""
        return f"step {self.step}/{self.steps}{loss}{left}"


def read(workspace: Workspace, stage: str, key: str, seeds: int | None = None) -> Progress | None:
    """None if no seed has said anything yet. seeds: how many there will be, if known: those to come count as not begun."""
    ends = [pair for path in sorted(workspace.live(stage, key).glob("seed=*.jsonl")) if (pair := _ends(path))]
    if not ends:
        return None
    first, newest = ends[0], max((last for _, last in ends), key=lambda event: event["at"])
    total = int(newest["steps"]) * max(len(ends), seeds or 0)
    done = sum(int(last["step"]) for _, last in ends)
    began = min(begin["at"] for begin, _ in ends)
    gone, moved = time.time() - began, done - int(first[0]["step"])
    left = gone / moved * (total - done) if moved > 0 else None
    return Progress(done, total, left, {k: float(v) for k, v in newest["values"].items() if v is not None})


def _ends(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """A file's first and last whole event."""
    try:
        with path.open("rb") as file:
            head = file.readline()
            file.seek(max(0, path.stat().st_size - _TAIL))
            tail = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(tail):
        try:
            return json.loads(head), json.loads(line)
        except ValueError:
            continue
    return None
