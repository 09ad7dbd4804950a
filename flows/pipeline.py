"""`prelude run`: brings targets of DVC's graph up to date, under Prefect, and MLflow with them; says plainly what happened.

Prefect's server takes 5 s to start (12 s the first time). Nobody waits for it: it starts while the graph is read and the first
stages run, and shows them once it is there.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from flows import slots, worker
from flows.alone import alone
from flows.dag import Dag, Node
from flows.runner import Runner
from flows.screen import Screen, screen, summary
from flows.server import Server
from flows.slots import Grant
from flows.steps import Step, Steps, attempt
from flows.tracking.marker import up_to_date
from stages.common import plan as plans
from stages.common.process import terminated_as_interrupted
from stages.common.workspace import Workspace

Print = Callable[[str], None]


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
    stopped: str = ""  # on whose word the run ended early
    tracked: bool = False
    lost_prefect: bool = False  # its server was lost: its client's threads would look for it for a minute after the end

    @property
    def ok(self) -> bool:
        return not self.failed and not self.stopped


def run(
    targets: list[str] | None = None,
    force: bool = False,
    *,
    root: Path = Path(),
    name: str | None = None,
    prefect: bool = True,
    keep_going: bool = False,
    workers: int | None = None,
    wait: bool = False,
    say: Print | None = None,
) -> Outcome:
    """Brings the targets (None: the whole graph) up to date. Failures are in the outcome; raises UserError before any work.

    force: run commands even where nothing changed. name: of the run in Prefect and MLflow. prefect: False goes without it.
    keep_going: after a failure go on with what does not depend on it. workers: cores to use. wait: for another run's end. say:
    hears plain lines; without it a terminal shows a live table. Within a Prefect flow run the stages become its task runs.
    """
    started = time.monotonic()
    workspace = Workspace(root)
    plan = plans.load(root / "params.yaml")
    title = name or _title(targets or list(plan.systems))
    inside = _inside_a_flow()
    with alone(workspace, title, wait=wait), terminated_as_interrupted(), screen(say, workspace, worker.held_mb) as shown:
        server = Server(workspace)
        if prefect and not inside:  # on the main thread: a child of another thread dies with that thread
            server.start()
        try:
            dag = Dag(root)
            nodes, outcome = dag.stages(targets), Outcome()
            steps = Steps(dag, workspace, nodes, force, shown.heard, shown.told, shown.started)
            runner = _runner(steps, plan, workers, keep_going)
            try:
                if steps.pending():
                    shown.begin([node.name for node in nodes])
                    _work(runner, plan, server if prefect else None, title, outcome, shown)
                else:
                    for node in nodes:
                        steps.done[node.name] = Step(node.name, "cached")
            except (KeyboardInterrupt, worker.Stopped) as stopped:
                outcome.stopped = str(stopped) or "interrupted"
            _fill(outcome, steps)
            _track(workspace, plan, title, outcome)
            outcome.seconds = time.monotonic() - started
        finally:
            server.stop()
    for line in summary(outcome, workspace):
        shown.say(line)
    return outcome


def _runner(steps: Steps, plan: plans.Plan, workers: int | None, keep_going: bool) -> Runner:
    steps.retries, steps.retry_delay_s = plan.compute.retries, plan.compute.retry_delay_s
    needs = {node.name: slots.need(node, plan, steps.workspace) for node in steps.nodes}
    return Runner(steps, slots.of_machine(plan, workers), needs, keep_going)


def _work(runner: Runner, plan: plans.Plan, server: Server | None, title: str, outcome: Outcome, shown: Screen) -> None:
    """Takes the nodes under Prefect, or without it where its server cannot start; live figures go to MLflow meanwhile."""
    worker.warm(node.cmd or "" for node in runner.steps.nodes)
    from flows.tracking.live import Tail

    workspace, steps = runner.steps.workspace, runner.steps
    with Tail(workspace, plan, run_name=title) if plan.encoders else contextlib.nullcontext() as tail:

        def alone(node: Node, grant: Grant) -> Step:
            return attempt(steps, node, grant)

        def after() -> dict[str, str]:
            if tail is not None:
                tail.close()
            _fill(outcome, steps)
            return _track(workspace, plan, title, outcome)

        why = _first_nodes(runner, server) if server is not None and not _inside_a_flow() else ""
        if server is None or why:
            if why:
                outcome.notes.append(f"{why}. The run went on without Prefect")
                shown.say(outcome.notes[-1])
            runner.run(alone)
            return
        from flows.flow import Work, run_with

        work = Work(runner, after, server.own)
        try:
            run_with(work, title)
        finally:
            outcome.notes += [f"{why}. The run went on without it" for why in work.lost]
            outcome.lost_prefect = bool(work.lost)
        if any(node.name not in steps.done for node in steps.nodes):  # Prefect failed before it came to them
            runner.run(alone)


def _first_nodes(runner: Runner, server: Server) -> str:
    """Takes nodes until Prefect's server answers; returns why it never will, or nothing. The flow shows them later."""
    imported = threading.Thread(target=importlib.import_module, args=("flows.flow",), daemon=True)  # 2 s
    imported.start()
    found: list[str | None] = [None]

    def until() -> bool:
        found[0] = server.look() if not found[0] else found[0]
        return found[0] is not None and not imported.is_alive()

    try:
        runner.run(lambda node, grant: attempt(runner.steps, node, grant), until)
    finally:
        imported.join()  # an interpreter that ends amid an import of compiled modules may abort
    return server.ready() if found[0] is None else found[0]


def _track(workspace: Workspace, plan: plans.Plan, title: str, outcome: Outcome) -> dict[str, str]:
    """Brings MLflow up to date with the records, also with what finished before a failure; returns where it is seen."""
    recorded = any(workspace.data.glob("records/*/*/record.json"))
    if outcome.tracked or not recorded or (not outcome.ran and up_to_date(workspace, plan.tracking)):
        return {}
    from flows.tracking.sync import replay

    done = replay(workspace, plan, run_name=title)
    outcome.tracked = True
    outcome.notes += done.problems
    return done.pages


def _fill(outcome: Outcome, steps: Steps) -> None:
    outcome.steps = [steps.done[node.name] for node in steps.nodes if node.name in steps.done]
    lists = {"ran": outcome.ran, "cached": outcome.cached, "restored": outcome.cached}
    lists |= {"failed": outcome.failed, "skipped": outcome.skipped}
    for some in lists.values():
        some.clear()
    for step in outcome.steps:
        lists[step.state].append(step.name)


def _inside_a_flow() -> bool:
    """Whether a Prefect flow run calls this, as a deployment does: it has its server."""
    context = sys.modules.get("prefect.context")
    return context is not None and context.FlowRunContext.get() is not None


def _title(names: list[str]) -> str:
    text = ", ".join(names) or "everything"
    return text if len(text) <= 80 else f"{text[:77]}..."
