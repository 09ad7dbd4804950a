"""`watch`: a look at a corpus' source; ingested anew, with all that follows, when it changed.

What was last seen lies in .prelude/watch/<corpus>.json. It is written once the corpus was ingested, so that a failure is tried
again at the next look.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.alone import alone
from flows.schedules import notices, rounds, sighting
from flows.schedules.sighting import Sighting
from stages.common import atomic
from stages.common import plan as plans
from stages.common.errors import ContractError, unknown
from stages.common.plan import CorpusPlan
from stages.common.schema import as_plain
from stages.common.workspace import Workspace


@flow(name="watch", persist_result=False, on_failure=[notices.on_failure], on_crashed=[notices.on_failure])
def watch(corpus: str, settle_s: float = 5.0, notify: str = "") -> State[Any]:
    """Looks at the source of a corpus; ingests it again, and runs what follows, when its content changed. Skipped while another
    run is at work.

    Args:
        corpus: its name in the plan.
        settle_s: a changed source must look the same for so many seconds, or it waits for the next look.
        notify: the name of a Webhook block that hears of failures and of verdicts that change.
    """

    def work(this: rounds.Round) -> State[Any]:
        plan = plan_of(this.workspace, corpus)
        why = sighting.fixed(plan)
        if why:
            return Completed(message=f"the source of {corpus} cannot change: {why}")
        with alone(this.workspace, this.name):
            now, what = look(this.workspace, corpus, plan, settle_s)
        if now is None:
            return Completed(message=what)
        this.say(what)
        first = this.run([f"ingest@{corpus}"], force=True)
        if not first.ok:
            return rounds.state_of(first)
        keep(this.workspace, corpus, now)
        return rounds.state_of(this.run(keep_going=True, wait=True))

    return rounds.take(f"watch-{corpus}", notify, work)


def plan_of(workspace: Workspace, corpus: str) -> CorpusPlan:
    """The corpus' node of the plan. Raises UserError."""
    corpora = plans.load(workspace.root / "params.yaml").corpora
    if corpus not in corpora:
        raise unknown("corpus", corpus, corpora, where="params.yaml")
    return corpora[corpus]


def look(workspace: Workspace, corpus: str, plan: CorpusPlan, settle_s: float = 0.0) -> tuple[Sighting | None, str]:
    """(what is to be ingested, if anything; what was seen in words). Notes what needs no ingesting. Raises UserError."""
    before, source = seen(workspace, corpus), atomic.digest_json(as_plain(plan.source))
    glance = sighting.glance(plan)
    known = before is not None and before.source == source
    if before is not None and known and glance and glance == before.glance:
        return None, "nothing changed"
    if known and glance and settle_s:
        time.sleep(settle_s)
        if sighting.glance(plan) != glance:
            return None, "the source is being written; looked at again in the next round"
    now = Sighting(source, glance, sighting.digest(plan, workspace))
    if glance and sighting.glance(plan) != glance:  # it changed while it was read
        return None, "the source is being written; looked at again in the next round"
    if before is None or not known:
        keep(workspace, corpus, now)
        return None, "seen for the first time" if before is None else "the plan names another source: seen for the first time"
    if now.digest == before.digest:
        keep(workspace, corpus, now)
        return None, "it looks different, but its content did not change" if glance else "nothing changed"
    return now, f"the source of {corpus} changed: {before.digest[:12]} -> {now.digest[:12]}"


def seen(workspace: Workspace, corpus: str) -> Sighting | None:
    """What was last seen; None where nothing was, or the file is damaged."""
    try:
        return Sighting(**atomic.read_json(_path(workspace, corpus)))
    except (ContractError, TypeError):
        return None


def keep(workspace: Workspace, corpus: str, now: Sighting) -> None:
    """Notes what was seen, for the next look."""
    path = _path(workspace, corpus)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, asdict(now))


def _path(workspace: Workspace, corpus: str) -> Path:
    return workspace.state / "watch" / f"{corpus}.json"
