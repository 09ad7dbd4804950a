"""`prelude run`: brings targets of DVC's graph up to date, under Prefect, and MLflow with them; says plainly what happened.

Prefect's server takes 5 s to start (12 s the first time): it starts while the graph is read, and a run that finds everything up
to date does not wait for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows import verdicts, worker
from flows.dag import Dag
from flows.server import Server
from flows.steps import Step, Steps, plainly
from flows.tracking.marker import up_to_date
from stages.common import plan as plans
from stages.common.errors import UserError
from stages.common.process import terminated_as_interrupted
from stages.common.workspace import Workspace

Print = Callable[[str], None]
WIDTH = 34


@dataclass
class Outcome:
    """What a run did, by stage name. cached: up to date, or restored from the cache. skipped: needs one that failed."""

    ran: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what went otherwise than planned, without harm to the results

    @property
    def ok(self) -> bool:
        return not self.failed


def run(
    targets: list[str] | None = None,
    force: bool = False,
    *,
    root: Path = Path(),
    name: str | None = None,
    prefect: bool = True,
    say: Print = lambda line: print(line, flush=True),
) -> Outcome:
    """Brings the targets (None: the whole graph) up to date. Failures are in the outcome; raises UserError before any work.

    force: run commands even where nothing changed. name: of the run in Prefect and MLflow. prefect: False goes without it.
    """
    started = time.monotonic()
    workspace = Workspace(root)
    plan = plans.load(root / "params.yaml")
    title = name or _title(targets)
    with _alone(workspace), terminated_as_interrupted():
        server = Server(workspace)
        if prefect:
            server.start()
        try:
            dag = Dag(root)
            steps = Steps(dag, workspace, dag.stages(targets), force, _relay(say), lambda step: say(_line(step)))
            outcome = Outcome()
            interrupted = False
            try:
                if steps.pending():
                    _work(steps, plan, server if prefect else None, title, outcome, say)
                else:
                    for node in steps.nodes:
                        steps.done[node.name] = Step(node.name, "cached")
            except KeyboardInterrupt:
                interrupted = True
            _fill(outcome, steps)
            _track(workspace, plan, title, outcome)
            outcome.seconds = time.monotonic() - started
            for line in _summary(outcome, workspace, interrupted):
                say(line)
            if interrupted:
                raise KeyboardInterrupt
            return outcome
        finally:
            server.stop()


def _work(steps: Steps, plan: plans.Plan, server: Server | None, title: str, outcome: Outcome, say: Print) -> None:
    """Takes the nodes under Prefect, or without it where its server cannot start; live figures go to MLflow meanwhile."""
    worker.warm()
    from flows.tracking.live import Tail

    with Tail(steps.workspace, plan, run_name=title):
        if server is None:
            plainly(steps)
            return
        from flows.flow import run_with  # 2 s of imports, while the server starts

        why = server.ready()
        if why:
            outcome.notes.append(f"{why}. The run went on without Prefect")
            say(outcome.notes[-1])
            plainly(steps)
        else:
            run_with(steps, title)


def _track(workspace: Workspace, plan: plans.Plan, title: str, outcome: Outcome) -> None:
    """Brings MLflow up to date with the records, also with what finished before a failure."""
    if not outcome.ran and up_to_date(workspace, plan.tracking):
        return
    from flows.tracking.sync import replay

    outcome.notes += replay(workspace, plan, run_name=title).problems


def _fill(outcome: Outcome, steps: Steps) -> None:
    outcome.steps = list(steps.done.values())
    lists = {"ran": outcome.ran, "cached": outcome.cached, "restored": outcome.cached}
    lists |= {"failed": outcome.failed, "skipped": outcome.skipped}
    for step in outcome.steps:
        lists[step.state].append(step.name)


def _line(step: Step) -> str:
    took = f"{step.seconds:8.1f} s" if step.state in ("ran", "restored", "failed") else ""
    line = f"{step.name:<{WIDTH}} {step.state:<9}{took}".rstrip()
    return line + "".join(f"\n    {part}" for part in step.error.splitlines())


def _relay(say: Print) -> Callable[[str, str], None]:
    """Passes on a stage's own lines, with its name."""
    return lambda name, line: say(f"  {name} | {line}") if line.strip() else None


def _summary(outcome: Outcome, workspace: Workspace, interrupted: bool) -> Iterator[str]:
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


def _title(targets: list[str] | None) -> str:
    text = ", ".join(targets) if targets else "everything"
    return text if len(text) <= 80 else f"{text[:77]}..."


@contextlib.contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """One run at a time in a workspace. Raises UserError."""
    path = workspace.state / "locks" / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another run is at work in this workspace", where=workspace.root, do="wait for it") from None
        yield


def main() -> int:
    """`python -m flows.pipeline [TARGET ...]`."""
    shown = logging.StreamHandler()
    shown.setLevel(logging.WARNING)  # of the handler: Prefect's loggers have levels of their own
    logging.basicConfig(format="%(message)s", handlers=[shown])
    try:
        return 0 if run(sys.argv[1:] or None).ok else 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
