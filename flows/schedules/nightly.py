"""`nightly`: the whole graph up to date, the scoreboard with it."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows import compose
from flows.schedules import notices, rounds


@flow(name="nightly", persist_result=False, on_failure=[notices.on_failure], on_crashed=[notices.on_failure])
def nightly(
    systems: list[str] = [],  # noqa: B006  Prefect shows the default in its form
    force: bool = False,
    keep_going: bool = True,
    workers: int | None = None,
    notify: str = "",
) -> State[Any]:
    """Runs the whole graph and publishes the scoreboard; failed if a stage failed. It waits for another run to end.

    Args:
        systems: plan these systems first; none: the plan as it is.
        force: run stages even where nothing changed.
        keep_going: after a failure finish every branch that does not depend on it.
        workers: cores to use; none: all.
        notify: the name of a Webhook block that hears of failures and of verdicts that change.
    """

    def work(this: rounds.Round) -> State[Any]:
        if systems:
            compose.write(this.workspace.root, systems, wait=True)
        outcome = this.run(force=force, keep_going=keep_going, workers=workers, wait=True)
        if outcome.ok and not outcome.ran:
            from flows.flow import publish

            publish(this.workspace, {})  # a run that finds all up to date has no task to do it
        return rounds.state_of(outcome)

    return rounds.take("nightly", notify, work)
