"""`weekly_verify`: the whole cache and every output hashed; what is damaged set aside and made again."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import verify
from flows.alone import alone
from flows.pipeline import Outcome
from flows.schedules import notices, rounds


@flow(name="weekly_verify", persist_result=False, on_failure=[notices.on_failure], on_crashed=[notices.on_failure])
def weekly_verify(repair: bool = True, notify: str = "") -> State[Any]:
    """Hashes every output and every object of DVC's cache. It waits for another run to end.

    Args:
        repair: move what is damaged to .prelude/quarantine, make it again, and look once more; else a damage is a failure.
        notify: the name of a Webhook block that hears of damage and of failures.
    """

    def work(this: rounds.Round) -> State[Any]:
        root, done = this.workspace.root, None
        with alone(this.workspace, this.name, wait=True):
            first = verify.check(root)
            if first.found and repair:
                done = verify.repair(root, first.found)
        this.say(f"hashed {first}")
        if not first.found:
            return Completed(message=f"all whole: {first}")
        this.say(verify.text(first.found, done))
        this.notice("damage", [f"{d.path}: {d.why}" for d in first.found])
        if done is None:
            _show(first, None, None)
            return Failed(message=verify.text(first.found))
        outcome = this.run(done.lost, keep_going=True, wait=True) if done.lost else Outcome()
        _show(first, done, outcome)
        if not outcome.ok:
            return rounds.state_of(outcome)
        with alone(this.workspace, this.name, wait=True):
            again = verify.check(root)
        if again.found:
            return Failed(message=f"still damaged after the repair:\n{verify.text(again.found)}")
        return Completed(name="Repaired", message=f"{len(first.found)} damaged, all whole again: {again}")

    return rounds.take("weekly_verify", notify, work)


def _show(check: verify.Check, done: verify.Repair | None, outcome: Outcome | None) -> None:
    """What was found and what was done, as a table in Prefect."""
    place = f"moved to {done.quarantine}" if done else "left where it is"
    rows = [{"path": d.path, "kind": d.kind, "why": d.why, "done": place} for d in check.found]
    if done and outcome:
        rows += [{"path": out, "kind": "output", "why": "lost from the cache", "done": "put back"} for out in done.put_back]
        steps = [step for step in outcome.steps if step.state != "cached"]
        rows += [{"path": step.name, "kind": "stage", "why": "output lost", "done": step.state} for step in steps]
    create_table_artifact(table=rows, key="verify", description=f"Hashed {check}: {len(check.found)} damaged")
