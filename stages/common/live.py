"""Live progress of a running stage: one line of JSON per event, appended, for whoever watches (tracker, terminal, flow).

.prelude/live/<stage>/<key>/seed=<s>.jsonl; an event is {"at", "step", "steps", "seed", "digest", "values": {name: value}}.
A run that resumes truncates what lies beyond its snapshot, so a step appears once.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any


class Live:
    """Appends events for one seed of one node. `resume_at`: events of later steps are dropped first."""

    def __init__(self, folder: Path, seed: int, digest: str, steps: int, resume_at: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.seed, self.digest, self.steps = folder / f"seed={seed}.jsonl", seed, digest, steps
        kept = [e for e in read(self.path) if e["digest"] == digest and resume_at is not None and e["step"] <= resume_at]
        self.path.write_text("".join(json.dumps(e) + "\n" for e in kept), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8", buffering=1)

    def event(self, step: int, values: dict[str, float]) -> None:
        entry = {
            "at": time.time(),
            "step": step,
            "steps": self.steps,
            "seed": self.seed,
            "digest": self.digest,
            "values": values,
        }
        self._file.write(json.dumps(entry) + "\n")

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """The whole events of a file; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events
