"""Deployments: the schedules as Prefect's server holds them.

What a call of `prelude serve` does not name, such as a pause, a time or parameters set on Prefect's pages, stays as the
server has it. Runs that were missed while nobody served are not made up for.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows import schedules
from stages.common import plan as plans
from stages.common.errors import UserError, unknown


@dataclass(frozen=True)
class Wish:
    """What a call of `prelude serve` asks for. names: of schedules, none: all. label: none: the workspace's folder."""

    names: list[str] = field(default_factory=list)
    cron: str | None = None
    interval_s: float | None = None
    timezone: str = "UTC"
    corpora: list[str] = field(default_factory=list)
    systems: list[str] = field(default_factory=list)
    notify: str | None = None
    label: str = ""
    paused: bool = False


@dataclass(frozen=True)
class Deployment:
    """One schedule as it is to be registered. parameters: what the call names; the server keeps the others."""

    flow: str
    name: str
    parameters: dict[str, Any]
    cron: str | None = None
    interval_s: float | None = None
    timezone: str = "UTC"
    asked: bool = False  # the time was named in the call, and not taken from the defaults


def wanted_by(root: Path, wish: Wish) -> list[Deployment]:
    """What is to be registered. Raises UserError where the wish or the plan does not allow it."""
    names = list(dict.fromkeys(wish.names)) or list(schedules.NAMES)
    for name in names:
        if name not in schedules.NAMES:
            raise unknown("schedule", name, schedules.NAMES)
    _check(names, wish)
    label, found = wish.label or root.absolute().name, []
    asked = bool(wish.cron or wish.interval_s)
    for name in names:
        if asked:
            when: dict[str, Any] = {"cron": wish.cron, "interval_s": wish.interval_s}
        else:
            when = {"cron": schedules.CRON.get(name), "interval_s": schedules.INTERVAL_S.get(name)}
        when |= {"timezone": wish.timezone, "asked": asked}
        given: dict[str, Any] = {} if wish.notify is None else {"notify": wish.notify}
        if name == "watch":
            corpora = _watched(root, wish.corpora)
            found += [Deployment(name, f"{label}-{c}", {"corpus": c, **given}, **when) for c in corpora]
        else:
            given |= {"systems": wish.systems} if name == "nightly" and wish.systems else {}
            found.append(Deployment(name, label, given, **when))
    return found


def _check(names: list[str], wish: Wish) -> None:
    if (wish.cron or wish.interval_s) and len(names) != 1:
        raise UserError("a time is for one schedule", do=f"name it: `prelude serve {names[0]} --cron ...`")
    if wish.cron and wish.interval_s:
        raise UserError("--cron and --interval exclude each other", do="choose one")
    if wish.interval_s is not None and wish.interval_s < 1:
        raise UserError("the interval is below a second", where="--interval", do="give seconds")
    if wish.cron:
        from prefect.client.schemas.schedules import CronSchedule

        try:
            CronSchedule(cron=wish.cron, timezone=wish.timezone)
        except ValueError:
            what = f"no time can be made of {wish.cron!r} in {wish.timezone!r}"
            raise UserError(what, where="--cron, --timezone", do="write five fields, as in '0 2 * * *'") from None
    if wish.corpora and "watch" not in names:
        raise UserError("--corpus is for the schedule watch", do="name it too")


def _watched(root: Path, corpora: list[str]) -> list[str]:
    """The corpora to watch: those named, else those of the plan whose source can change."""
    from flows.schedules import sighting

    path = root / "params.yaml"
    planned = plans.load(path).corpora if path.exists() else {}
    for name in corpora:
        if name not in planned:
            raise unknown("corpus", name, planned, where=path)
    return corpora or [name for name, corpus in planned.items() if not sighting.fixed(corpus)]


async def register(runner: Any, one: Deployment, paused: bool) -> str:
    """Registers a deployment; returns it in words, as the server has it then."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.schedules import Cron, Interval
    from prefect.types.entrypoint import EntrypointType

    flow = getattr(importlib.import_module(f"flows.schedules.{one.flow}"), one.flow)
    async with get_client() as client:
        try:
            before = await client.read_deployment_by_name(f"{flow.name}/{one.name}")
        except ObjectNotFound:
            before = None
        schedule = None
        if before is None or one.asked or not before.schedules:
            if one.cron:
                schedule = Cron(one.cron, timezone=one.timezone)
            else:
                schedule = Interval(timedelta(seconds=one.interval_s or 0), timezone=one.timezone)
        made = await flow.ato_deployment(
            name=one.name,
            schedule=schedule,
            paused=paused or (before is not None and before.paused),
            parameters={**(before.parameters if before else {}), **one.parameters},
            tags=["prelude"],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        if schedule is None:
            made.model_fields_set.discard("schedules")  # an empty list would delete those that the server has
        made.work_pool_name = made.work_queue_name = None  # said, so that a deployment of a work pool is served from here too
        identity = await runner.aadd_deployment(made)
        await _forget_missed(client, identity)
        return _words(await client.read_deployment(identity))


def _words(deployment: Any) -> str:
    flow = deployment.entrypoint.rpartition(".")[2]
    times = []
    for one in deployment.schedules:
        kind, zone = one.schedule, getattr(one.schedule, "timezone", None) or "UTC"
        if hasattr(kind, "cron"):
            words = f"{kind.cron} {zone}"
        elif hasattr(kind, "interval"):
            words = f"every {kind.interval.total_seconds():g} s"
        else:
            words = "by a rule"
        times.append(words if one.active else f"{words} (inactive)")
    return f"{flow + '/' + deployment.name:<32} {'; '.join(times)}" + ("   paused" if deployment.paused else "")


async def _forget_missed(client: Any, deployment: Any) -> None:
    """Deletes runs that a schedule set for a time at which nobody served: a hundred looks at a source are not made up for."""
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.types._datetime import now

    due = filters.FlowRunFilter(
        deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment]),
        state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=filters.FlowRunFilterExpectedStartTime.model_validate({"before_": now("UTC")}),
    )
    while True:
        found = await client.read_flow_runs(flow_run_filter=due, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=200)
        missed = [run for run in found if run.auto_scheduled]
        for run in missed:
            await client.delete_flow_run(run.id)
        if not missed:
            return


async def unscheduled(names: list[str]) -> list[str]:
    """Those of the deployments (`flow/name`) that are active, and for which the server has no run to come."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    found = []
    async with get_client() as client:
        for name in names:
            one = await client.read_deployment_by_name(name)
            coming = filters.FlowRunFilter(
                deployment_id=filters.FlowRunFilterDeploymentId(any_=[one.id]),
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            )
            active = not one.paused and any(schedule.active for schedule in one.schedules)
            if active and not await client.read_flow_runs(
                flow_run_filter=coming, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=1
            ):
                found.append(name)
    return found


async def block_exists(block: str) -> None:
    """Raises UserError where the server has no Webhook block of this name."""
    from prefect.blocks.webhook import Webhook

    try:
        await Webhook.aload(block)
    except ValueError:
        do = "make it on Prefect's pages, or as docs/schedules.md shows"
        raise UserError(f"there is no Webhook block named {block!r}", where="--notify", do=do) from None
