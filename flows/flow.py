"""The Prefect flow: every DVC stage a task run under its own name, with its log, retries and tags; scoreboard as artifacts.

Paths and names travel, never data: no results are kept and Prefect's own caching is off, since DVC is the cache.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging.handlers import APILogHandler
from prefect.states import Completed, Failed
from prefect.tasks import Task

from flows import verdicts
from flows.dag import Dag, Node
from flows.steps import RETRIES, StageFailed, Steps
from stages.common import plan
from stages.common.errors import UserError
from stages.common.workspace import Workspace

_at_work: list[Steps] = []  # the run at work in this process: tasks are handed names, and find the rest here


@flow(name="pipeline", validate_parameters=False, persist_result=False)
def pipeline(targets: list[str] | None = None, force: bool = False, root: str = ".") -> State[Any]:
    """Brings the targets (None: all) up to date, publishes the scoreboard and brings MLflow up to date.

    Failed if a node failed, after all that could be done was done.

    `flows.pipeline.run` calls it with steps of its own; as a deployment it reads the graph in `root` itself.
    """
    own = not _at_work
    if own:
        dag, workspace = Dag(Path(root)), Workspace(Path(root))
        _at_work.append(Steps(dag, workspace, dag.stages(targets), force))
    steps = _at_work[-1]
    try:
        run_nodes(steps)
        publish(steps.workspace)
        if own:
            tracking(steps.workspace)
    finally:
        if own:
            _at_work.remove(steps)
    failed = [s.name for s in steps.done.values() if s.state == "failed"]
    return Failed(message=f"failed: {', '.join(failed)}") if failed else Completed(message=f"{len(steps.done)} nodes")


def run_nodes(steps: Steps) -> None:
    """One after another, in the graph's order; what follows a failed node is skipped, the rest goes on."""
    log = get_run_logger()
    for node in steps.nodes:
        needed = steps.blocked(node)
        if needed:
            log.warning("%s is skipped: %s", node.name, steps.skip(node, needed).error)
            continue
        started = time.monotonic()
        state: Any = _task(node)(node.name, return_state=True)
        if not state.is_completed():
            error = state.result(raise_on_failure=False)
            if not isinstance(error, (StageFailed, UserError)):
                raise error if isinstance(error, BaseException) else RuntimeError(state.message)
            steps.fail(node, error, time.monotonic() - started)


def run_with(steps: Steps, name: str) -> None:
    """Runs the flow with steps made by the caller, who reads from them what became of the nodes."""
    _at_work.append(steps)
    try:
        targets = [n.name for n in steps.nodes]
        named = pipeline.with_options(flow_run_name=name)
        state: State[Any] = named(targets, steps.force, str(steps.workspace.root), return_state=True)
    finally:
        _at_work.remove(steps)
        APILogHandler().flush()  # the server may be ours, and stop next
    if not any(step.state == "failed" for step in steps.done.values()):
        state.result()  # raises what broke the flow itself


def publish(workspace: Workspace) -> None:
    """The scoreboard as a table, and where the report lies."""
    rows = verdicts.read(workspace)
    if rows:
        table = [{"system": r.system, "claim": r.claim, "says": r.says, "verdict": r.verdict, "data": r.data} for r in rows]
        create_table_artifact(table=table, key="scoreboard", description="Claims and verdicts")
    page = (workspace.page / "index.html").absolute()
    if page.is_file():
        create_markdown_artifact(f"Report: [{page.name}]({page.as_uri()})", key="report", description="The report's page")


@task(name="tracking", cache_policy=NO_CACHE, persist_result=False)
def tracking(workspace: Workspace) -> None:
    """Brings MLflow up to date with the records."""
    from flows.tracking.sync import replay

    for problem in replay(workspace, plan.load(workspace.root / "params.yaml")).problems:
        get_run_logger().warning("%s", problem)


def _task(node: Node) -> Task[Any, Any]:
    """The node's task; `.submit` instead of a call would run it beside others."""
    stage, _, key = node.name.rpartition("@")
    return _take.with_options(name=node.name, task_run_name=node.name, tags=[t for t in (stage, key) if t])


def _may_pass(task: Task[Any, Any], task_run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageFailed) and error.passing


@task(retries=RETRIES, retry_delay_seconds=1, retry_condition_fn=_may_pass, cache_policy=NO_CACHE, persist_result=False)
def _take(name: str) -> State[str]:
    """Takes one node; the state in Prefect says whether it ran, was restored or was up to date."""
    steps, log = _at_work[-1], get_run_logger()
    node = next(n for n in steps.nodes if n.name == name)
    step = steps.take(node, lambda line: log.info("%s", line))
    return Completed(name=step.state.capitalize(), message=f"{step.seconds:.1f} s", data=step.name)
