"""A round: one run of a schedule, from its turn to its state in Prefect, with notices of what changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from flows import pipeline, verdicts
from flows.alone import Busy
from flows.pipeline import Outcome
from flows.schedules import notices, turns
from stages.common.errors import UserError
from stages.common.process import terminated_as_interrupted
from stages.common.workspace import Workspace

SKIPPED = "Skipped"


@dataclass(frozen=True)
class Round:
    """What a schedule's work is handed. name: the flow run's; kind: the flow's; notify: a Webhook block, or nothing."""

    kind: str
    name: str
    notify: str
    workspace: Workspace
    say: Callable[[str], None]

    def run(self, targets: list[str] | None = None, **how: Any) -> Outcome:
        """`flows.pipeline.run`, its stages task runs of this flow run; its lines go to the log, but for those of stages."""
        return pipeline.run(
            targets,
            root=self.workspace.root,
            name=f"{self.kind} {self.name}",
            say=lambda line: None if line.startswith("  ") else self.say(line),
            **how,
        )

    def notice(self, kind: str, lines: list[str]) -> None:
        """Sends a notice, if there are lines and a webhook is named. One that fails is logged, and no more."""
        if self.notify and lines:
            why = notices.send(self.notify, notices.body(kind, self.kind, self.name, lines))
            if why:
                self.say(f"no notice was sent: {why}")


def take(kind: str, notify: str, work: Callable[[Round], State[Any]]) -> State[Any]:
    """Does the work when its turn comes, in the current folder, tells of changed verdicts. Returns the flow's state."""
    context = FlowRunContext.get()
    name = context.flow_run.name if context and context.flow_run else kind
    workspace, log = Workspace(), get_run_logger()
    turns.follow_server()
    this = Round(kind, name, notify, workspace, lambda line: log.info("%s", line))
    with terminated_as_interrupted(), turns.turn(workspace, kind) as mine:
        if not mine:
            return _ended(this, skipped(f"an earlier {kind} is still at work"))
        before = verdicts.read(workspace)
        state = _done(this, work)
        changed = notices.changes(before, verdicts.read(workspace))
        for change in changed:
            log.warning("verdict: %s", change)
        this.notice("verdict", changed)
    return _ended(this, state)


def state_of(outcome: Outcome, done: str = "") -> State[Any]:
    """A run's outcome as the flow's state: Cancelled when it was stopped, Failed when a stage failed, else Completed."""
    if outcome.stopped:
        return Cancelled(message=f"{outcome.stopped}; what finished is kept")
    if outcome.failed:
        errors = [f"{step.name}: {step.error}" for step in outcome.steps if step.state == "failed"]
        return Failed(message="\n\n".join(errors))
    return Completed(message=done or f"{len(outcome.ran)} ran, {len(outcome.cached)} cached")


def skipped(why: str) -> State[Any]:
    """The state of a round that found nothing it could do now. It is no failure."""
    return Completed(name=SKIPPED, message=why)


def _done(this: Round, work: Callable[[Round], State[Any]]) -> State[Any]:
    try:
        return work(this)
    except Busy as busy:
        return skipped(busy.what)
    except UserError as error:
        return Failed(message=str(error))
    except KeyboardInterrupt:
        return Cancelled(message="interrupted; what finished is kept")


def _ended(this: Round, state: State[Any]) -> State[Any]:
    """Says on the terminal of `prelude serve` how the round ended."""
    first = next(iter((state.message or "").splitlines()), "")
    print(f"{time.strftime('%H:%M:%S')} {this.kind} {this.name}: {state.name}: {first}", flush=True)
    return state
