"""The Prefect flow: every DVC stage a task run under its own name, with its log and retries; scoreboard and links as artifacts.

Paths and names travel, never data: no results are kept and Prefect's own caching is off, since DVC is the cache.
"""

from __future__ import annotations

import contextvars
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler
from prefect.states import Cancelled, Completed, Failed
from prefect.tasks import Task

from flows import oversight, verdicts, worker
from flows.dag import Node
from flows.runner import Runner
from flows.slots import Grant
from flows.steps import StageFailed, Steps, attempt
from stages.common.errors import UserError
from stages.common.workspace import Workspace

Links = dict[str, str]  # address by name
_LOOK_S, _SHOWN_S = 0.1, 5.0  # between two looks whether a node has ended; what its task run may take after that


@dataclass
class Work:
    """What a flow run is handed, within this process. after: runs when the nodes are done, as a task; returns links to show.

    lost: why Prefect could not be told of everything.
    """

    runner: Runner
    after: Callable[[], Links]
    own_server: bool = True
    lost: list[str] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    states: dict[str, State[Any]] = field(default_factory=dict)  # of finished task runs, by node: what follows points to them
    early: dict[str, threading.Thread] = field(default_factory=dict)  # show nodes that were taken before the server was there
    stopped: list[worker.Stopped] = field(default_factory=list)

    @property
    def steps(self) -> Steps:
        return self.runner.steps


_work: list[Work] = []  # the one at work in this process: Prefect walks through all that a task is handed


def run_with(work: Work, name: str) -> None:
    """Runs the nodes in a flow run: the present one, if this is called within one, else one of its own.

    Raises worker.Stopped or KeyboardInterrupt when it is stopped; a server that fails is noted in `work.lost`.
    """
    _work.append(work)
    try:
        if FlowRunContext.get():
            run_nodes(work)
        else:
            pipeline.with_options(flow_run_name=name)(return_state=True)
    except (KeyboardInterrupt, worker.Stopped):
        raise
    except Exception as error:  # Prefect's, or its server's
        work.lost.append(f"Prefect failed: {_first_line(error)}")
    finally:
        _work.remove(work)
        if not work.lost:
            _flush()  # the server may be ours, and stop next
    if work.steps.why_stopped:
        raise worker.Stopped(work.steps.why_stopped)


@flow(name="pipeline", validate_parameters=False, persist_result=False)
def pipeline() -> State[Any]:
    """Brings nodes of the DAG up to date, publishes the scoreboard and brings MLflow up to date.

    Failed if a node failed, after all that could be done was done.
    """
    work = _work[-1]
    try:
        return run_nodes(work)
    except worker.Stopped:  # it names the node that was stopped
        return Cancelled(message=work.steps.why_stopped)


def run_nodes(work: Work) -> State[Any]:
    """All nodes, side by side where the runner's slots allow, in the present flow run."""
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None
    steps = work.steps
    _prepare(work, context.flow_run.id)

    def cancel() -> None:
        steps.why_stopped = "cancelled in Prefect"
        steps.stop.set()

    for node in work.runner.begun():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(_show, work, node), daemon=True)
        work.early[node.name] = thread
        thread.start()
    with oversight.Oversight(context.flow_run.id, steps.workspace, lambda: list(worker.running), cancel):
        try:
            work.runner.run(lambda node, grant: _taken(work, node, grant))
        finally:
            for thread in work.early.values():
                thread.join(_SHOWN_S)
    log = get_run_logger()
    for step in steps.done.values():
        if step.state == "skipped":
            log.warning("%s is skipped: %s", step.name, step.error)
    if work.lost:
        work.after()
    else:
        publish(steps.workspace, tracking())
    failed = [s.name for s in steps.done.values() if s.state == "failed"]
    return Failed(message=f"failed: {', '.join(failed)}") if failed else Completed(message=f"{len(steps.done)} nodes")


def publish(workspace: Workspace, links: Links) -> None:
    """The scoreboard as a table, and links to the report and to MLflow."""
    rows = verdicts.read(workspace)
    if rows:
        table = [{"system": r.system, "claim": r.claim, "says": r.says, "verdict": r.verdict, "data": r.data} for r in rows]
        create_table_artifact(table=table, key="scoreboard", description="Claims and verdicts")
    page = (workspace.page / "index.html").absolute()
    if page.is_file():
        links = {"report": page.as_uri(), **links}
    for name, address in links.items():
        key = re.sub(r"[^a-z0-9]+", "-", name.lower())
        create_link_artifact(link=address, link_text=name, key=key, description=f"{name}: {address}")


@task(name="tracking", task_run_name="tracking", cache_policy=NO_CACHE, persist_result=False)
def tracking() -> Links:
    """Brings MLflow up to date with the records."""
    return _work[-1].after()


def _prepare(work: Work, run: UUID) -> None:
    """What the server has to know first. It may be another version, or busy: the work does not depend on it."""
    gpus = len(work.runner.slots.gpus)
    told = [lambda: oversight.bury_the_dead(but=run)] if work.own_server else [oversight.tell_of_the_dead]
    told += [lambda: oversight.limit_gpus(gpus)] if gpus else []
    for tell in told:
        try:
            tell()
        except Exception as error:
            get_run_logger().warning("%s", _first_line(error))


def _taken(work: Work, node: Node, grant: Grant) -> None:
    """The node's task run; where Prefect fails, the node is taken without it."""
    steps = work.steps
    if work.lost:  # each question to a server that is gone would take its time
        attempt(steps, node, grant)
        return
    work.grants[node.name], started = grant, time.monotonic()
    try:
        state: Any = _task(steps, node, grant)(node.name, return_state=True, wait_for=_before(work, node))
    except Exception as error:
        if not work.lost:
            work.lost.append(f"Prefect failed: {_first_line(error)}")
    else:
        work.states[node.name] = state
        failure = None if state.is_completed() else state.result(raise_on_failure=False)
        if isinstance(failure, (StageFailed, UserError)):
            steps.fail(node, failure, time.monotonic() - started)
    if work.stopped:
        raise work.stopped[0]
    if node.name not in steps.done:
        attempt(steps, node, grant)


def _before(work: Work, node: Node) -> list[State[Any]]:
    """The states of the task runs whose outputs a node reads."""
    for name in node.upstream:
        if name in work.early:
            work.early[name].join(_SHOWN_S)
    return [work.states[name] for name in node.upstream if name in work.states]


def _show(work: Work, node: Node) -> None:
    """The task run of a node that was taken early: it waits for the node's end."""
    try:
        shown = _wait.with_options(name=node.name, task_run_name=node.name)
        work.states[node.name] = shown(node.name, return_state=True, wait_for=_before(work, node))
    except Exception as error:
        work.lost += [] if work.lost else [f"Prefect failed: {_first_line(error)}"]


@task(cache_policy=NO_CACHE, persist_result=False)
def _wait(name: str) -> State[str]:
    """Ends as the node does, which runs elsewhere in this process."""
    steps = _work[-1].steps
    while name not in steps.done:
        if steps.stop.wait(_LOOK_S):
            return Cancelled(message="stopped", data=name)
    step = steps.done[name]
    if step.state == "failed":
        return Failed(message=step.error)
    return Completed(name=step.state.capitalize(), message=f"{step.seconds:.1f} s", data=name)


def _task(steps: Steps, node: Node, grant: Grant) -> Task[Any, Any]:
    """A tag costs a question to the server, so that there is one only where there is a limit: for tasks on a GPU."""
    delays = steps.delays()
    return _take.with_options(
        name=node.name,
        task_run_name=node.name,
        tags=["gpu"] if grant.gpus else [],
        retries=len(delays),
        retry_delay_seconds=delays,
    )


def _may_pass(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageFailed) and error.passing


@task(retry_condition_fn=_may_pass, cache_policy=NO_CACHE, persist_result=False)
def _take(name: str) -> State[str]:
    """Takes one node; the state in Prefect says whether it ran, was restored or was up to date."""
    work, log = _work[-1], get_run_logger()
    node = next(n for n in work.steps.nodes if n.name == name)
    try:
        step = work.steps.take(node, work.grants[name], lambda line: log.info("%s", line))
    except worker.Stopped as error:
        work.stopped.append(error)
        return Cancelled(message=str(error), data=name)
    return Completed(name=step.state.capitalize(), message=f"{step.seconds:.1f} s", data=step.name)


def _flush(timeout: float = 10.0) -> None:
    """Waits until what was logged has reached the server, but not for one that is away."""
    thread = threading.Thread(target=APILogHandler().flush, daemon=True)
    thread.start()
    thread.join(timeout)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
