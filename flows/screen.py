"""What a run shows: plain lines. A stage's name, what became of it, and its own lines under its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from flows import verdicts
from flows.steps import Step
from stages.common.workspace import Workspace

if TYPE_CHECKING:
    from flows.pipeline import Outcome

Print = Callable[[str], None]
WIDTH = 34


class Screen:
    """Hears of a run, from several threads, and prints lines."""

    def __init__(self, say: Print) -> None:
        self._say = say

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, names: Sequence[str]) -> None:
        """All stages of the run, in order."""

    def started(self, name: str) -> None:
        """Its command was started; a second call: tried again."""

    def heard(self, name: str, line: str) -> None:
        if line.strip():
            self._say(f"  {name} | {line}")

    def told(self, step: Step) -> None:
        took = f"{step.seconds:8.1f} s" if step.state in ("ran", "restored", "failed") else ""
        line = f"{step.name:<{WIDTH}} {step.state:<9}{took}".rstrip()
        self._say(line + "".join(f"\n    {part}" for part in step.error.splitlines()))

    def say(self, line: str) -> None:
        self._say(line)


def screen(say: Print | None, workspace: Workspace, memory: Callable[[str], float]) -> Screen:
    """What shows a run: plain lines, to `say` or to standard output."""
    return Screen(say or (lambda line: print(line, flush=True)))


def summary(outcome: Outcome, workspace: Workspace, interrupted: bool) -> Iterator[str]:
    """The last lines of a run: what ran, what was cached, the slowest three, verdicts, and where to look."""
    counts = [f"{len(outcome.ran)} ran", f"{len(outcome.cached)} cached"]
    counts += [f"{len(some)} {what}" for what, some in (("failed", outcome.failed), ("skipped", outcome.skipped)) if some]
    yield f"{', '.join(counts)} in {outcome.seconds:.1f} s"
    slowest = sorted((s for s in outcome.steps if s.state == "ran"), key=lambda s: -s.seconds)[:3]
    if len(slowest) > 1:
        yield "slowest: " + ", ".join(f"{s.name} {s.seconds:.1f} s" for s in slowest)
    found = [row.verdict for row in verdicts.read(workspace)]
    if found:
        yield "claims: " + ", ".join(f"{found.count(v)} {v}" for v in sorted(set(found)))
    for note in outcome.notes:
        yield f"note: {note}"
    page = workspace.page / "index.html"
    if page.is_file():
        yield f"report: {page}   MLflow: prelude ui"
    if outcome.failed:
        yield f"logs: {workspace.state / 'logs'}"
    if interrupted:
        yield "interrupted; run it again to go on"
