"""Replays records into MLflow, each exactly once. Every write is a function of the record, so a replay cut short is completed.

A run is whole when it is tagged with its record's identity; that comes last. What is there already is found by that tag, so a
second call adds nothing, and an empty database is filled again whole.
"""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from flows import verdicts
from flows.sweep import choices
from flows.tracking import UI_PORT, models, view
from flows.tracking.groups import Groups
from flows.tracking.marker import mark, remember
from flows.tracking.recorded import Recorded, read_all
from flows.tracking.store import Store, StoreDown, connect, damage, database, first_line, locked
from stages.common import atomic
from stages.common.plan import Plan, TrackingPlan
from stages.common.schema import as_plain
from stages.common.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities import Run

log = logging.getLogger("prelude.tracking")
Key = tuple[str, int | None]  # a record's identity and a seed
REPLAY = "; nothing is lost: `prelude run`, or the next synchronisation, replays the records"
DAMAGED = "; the database is damaged, the records are not: `prelude verify --repair` sets it aside, the next run fills another"


@dataclass
class Synchronised:
    """What a synchronisation did.

    logged: ids of runs written now; runs: of all records; problems: what failed, in words; pages: by name, the pages of the
    pipeline's run and of the encoders' in MLflow's UI, where one was written.
    """

    logged: list[str] = field(default_factory=list)
    pages: dict[str, str] = field(default_factory=dict)
    runs: dict[Key, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def synchronise(workspace: Workspace, plan: Plan, *, run_name: str | None = None, owner: bool = True) -> list[str]:
    """Brings MLflow up to date with data/records; returns the ids of the runs it wrote. Never fails: it warns.

    run_name: of the parent run. owner: no pipeline is at work in this workspace, so runs left open here are dead ones.
    """
    done = replay(workspace, plan, run_name=run_name, owner=owner)
    for problem in done.problems:
        log.warning("%s", problem)
    return done.logged


def replay(workspace: Workspace, plan: Plan, *, run_name: str | None = None, owner: bool = True) -> Synchronised:
    """`synchronise`, with what went wrong as a value."""
    done = Synchronised()
    records, damaged = read_all(workspace)
    done.problems += [f"{p}: the record is damaged; `prelude verify --repair` restores it" for p in damaged]
    with locked(workspace, plan.tracking):
        try:
            store = connect(workspace, plan.tracking)
            Replay(store, workspace, plan, done).all(records, run_name, owner)
            remember(workspace, plan.tracking, runs_page(store, plan.tracking), records, done.runs)
            if not done.problems:
                mark(workspace, plan.tracking)
        except StoreDown as down:
            done.problems.append(f"MLflow is down: {down}{_remedy(workspace, plan.tracking)}")
        except Exception as error:  # MLflow, its database or the disk below it: the results are safe in the records
            log.debug("synchronisation failed", exc_info=True)
            done.problems.append(f"MLflow failed ({first_line(error)}){_remedy(workspace, plan.tracking)}")
    return done


def _remedy(workspace: Workspace, tracking: TrackingPlan) -> str:
    path = database(workspace, tracking)
    return DAMAGED if path is not None and path.is_file() and damage(path) else REPLAY


def workspace_id(workspace: Workspace) -> str:
    """Names this workspace on this machine, so that only its own dead runs are tidied up."""
    return atomic.digest_json([socket.gethostname(), str(workspace.root.absolute())])[:16]


def ui_address(tracking: TrackingPlan) -> str:
    """Where MLflow's pages are: the tracking server's, or where `prelude ui` shows a local database."""
    return tracking.uri.rstrip("/") if tracking.uri.startswith("http") else f"http://127.0.0.1:{UI_PORT}"


def runs_page(store: Store, tracking: TrackingPlan) -> str:
    """The address below which each run of the experiment has its page, under its id."""
    return f"{ui_address(tracking)}/#/experiments/{store.experiment}/runs"


def plan_digest(plan: Plan) -> str:
    """Of what the plan computes: where it runs and is tracked does not count."""
    whole = as_plain(plan)
    return atomic.digest_json({k: v for k, v in whole.items() if k not in ("compute", "tracking")})


class Parents:
    """The parent run of one pipeline run: found open (left by a live tail or a killed process), or made on first use."""

    def __init__(self, store: Store, workspace: Workspace, plan: Plan, run_name: str | None = None) -> None:
        self.store, self.plan, self.name = store, plan_digest(plan), run_name or "pipeline"
        self.workspace, self._id = workspace_id(workspace), ""
        self.systems = ", ".join(plan.systems)

    def open(self) -> str | None:
        """The open parent of this plan and workspace, if there is one."""
        from mlflow.entities import RunStatus

        if not self._id:
            found = self.store.client.search_runs(
                [self.store.experiment],
                filter_string=f"tags.`{view.PLAN}` = '{self.plan}' and tags.`{view.WORKSPACE}` = '{self.workspace}'",
                max_results=100,
            )
            running = RunStatus.to_string(RunStatus.RUNNING)
            self._id = next((r.info.run_id for r in found if r.info.status == running), "")
        return self._id or None

    def get(self, started: int | None = None) -> str:
        """The open parent, else a new one."""
        if self.open() is None:
            tags = {view.KIND: "pipeline", view.PLAN: self.plan, view.WORKSPACE: self.workspace, "mlflow.user": "prelude"}
            made = self.store.client.create_run(
                self.store.experiment,
                start_time=started,
                tags=tags | {"mlflow.source.name": "prelude run", "prelude.systems": view.cut(self.systems)},
                run_name=self.name,
            )
            self._id = made.info.run_id
        return self._id


class Replay:
    """Writes records as runs: those of nodes that have ended while others work on (`runs`), and all in the end (`all`)."""

    def __init__(self, store: Store, workspace: Workspace, plan: Plan, done: Synchronised) -> None:
        self.store, self.client = store, store.client
        self.workspace, self.plan, self.done = workspace, plan, done
        self.here = workspace_id(workspace)
        self.by_path: dict[str, Recorded] = {}
        self.groups = Groups([])

    def all(self, records: list[Recorded], run_name: str | None, owner: bool) -> None:
        """All records' runs, and what is said of the pipeline when it is over."""
        parents = Parents(self.store, self.workspace, self.plan, run_name)
        begun = parents.open() is not None
        fresh = self.runs(records, parents)
        if (fresh or begun) and (owner or not begun):  # one that a pipeline has open is left to it
            self.close(parents.get(), records)
        self.groups.discard(self.store, self.here)
        if owner:
            self.bury()
        for corpus, winner in models.best(records, verdicts.higher_is_better(self.workspace)).items():
            models.crown(self.store, corpus, winner, self.done.runs)

    def runs(self, records: list[Recorded], parents: Parents, wanted: Callable[[Recorded], bool] = lambda _: True) -> bool:
        """Writes those of the records' runs that MLflow lacks and that are wanted; returns whether it lacked any.

        records: an input's before those that use it. A record whose runs were found or written here before is passed over.
        """
        self.groups = Groups(records, choices.selected(self.workspace))
        found = {r.identity: self.find(r) for r in records if any((r.identity, s) not in self.done.runs for s in r.seeds)}
        fresh = [r for r in records if r.identity in found and not set(r.seeds) <= found[r.identity][0].keys()]
        earliest = min((r.started() for r in fresh), default=None)  # what is shown already is of an earlier pipeline
        for recorded in records:
            self.by_path.update(dict.fromkeys(recorded.outputs, recorded))
            whole, partial = found.get(recorded.identity, ({}, {}))
            self.done.runs.update({(recorded.identity, seed): run.info.run_id for seed, run in whole.items()})
            for seed, run in whole.items():
                self.groups.complete(self.store, recorded, seed, run)
            for seed in recorded.seeds:
                if (recorded.identity, seed) not in self.done.runs and wanted(recorded):
                    self.write(recorded, seed, partial.get(seed), parents, earliest)
        return bool(fresh)

    def find(self, recorded: Recorded) -> tuple[dict[int | None, Run], dict[int | None, Run]]:
        """The record's runs by seed: whole ones, and ones that a live tail or a killed process of this workspace began."""
        from mlflow.entities import ViewType

        whole, partial = {}, {}
        runs = self.client.search_runs(
            [self.store.experiment],
            filter_string=f"tags.`{view.RECORD}` = '{recorded.digest}'",
            run_view_type=ViewType.ALL,  # what a user deleted stays deleted
        )
        for run in runs:
            tags, alive = run.data.tags, run.info.lifecycle_stage == "active"
            seed = int(tags[view.SEED]) if tags.get(view.SEED) else None
            if tags.get(view.IDENTITY) == recorded.identity:
                whole[seed] = run
            elif alive and view.IDENTITY not in tags and tags.get(view.WORKSPACE) == self.here:
                partial[seed] = run
        return whole, partial

    def write(self, recorded: Recorded, seed: int | None, partial: Run | None, parents: Parents, earliest: int | None) -> None:
        """Logs one run whole: into the one begun before, if there is one, else into a new one."""
        if partial is None:
            run = self.client.create_run(
                self.store.experiment,
                start_time=recorded.started(),
                tags=view.birth_tags(recorded.node, recorded.digest, seed, self.here, parents.get(earliest)),
                run_name=recorded.name(seed),
            )
        else:
            run = partial
        run_id = run.info.run_id
        rows = view.metrics(recorded, seed) + self.groups.metrics(recorded, seed)
        if partial is not None:  # its live values carry the clock of the event: a step that is there is not logged again
            there = {(k, m.step) for k in run.data.metrics for m in self.client.get_metric_history(run_id, k)}
            rows = [m for m in rows if (m.key, m.step) not in there]
        upstream = {
            i["path"]: self.runs_of(self.by_path[i["path"]], seed) for i in recorded.inputs if i["path"] in self.by_path
        }
        tags = view.run_tags(view.tags(recorded, seed, upstream) | self.groups.tags(recorded))
        params = view.params(recorded, seed, self.groups.params(recorded))
        self.client.log_batch(run_id, metrics=rows[: view.MOST_METRICS], params=params[: view.MOST_PARAMS], tags=tags)
        for some in view.batches(rows[view.MOST_METRICS :], view.MOST_METRICS):
            self.client.log_batch(run_id, metrics=some)
        for others in view.batches(params[view.MOST_PARAMS :], view.MOST_PARAMS):
            self.client.log_batch(run_id, params=others)
        if recorded.inputs:
            self.client.log_inputs(run_id, view.datasets(recorded))
        if seed is not None and models.is_trained(recorded):
            models.log(self.store, run_id, recorded, seed, self.workspace)
        if recorded.stage == "evaluate":
            self.artifacts(run_id, self.workspace.root / recorded.outputs[0])
        self.client.set_terminated(run_id, "FINISHED", end_time=recorded.ended())
        self.client.set_tag(run_id, view.IDENTITY, recorded.identity)
        self.done.runs[recorded.identity, seed] = run_id
        self.done.logged.append(run_id)

    def runs_of(self, made: Recorded, seed: int | None) -> list[str]:
        """The runs of an input: that of the same seed where both fan out to it, else all."""
        same = self.done.runs.get((made.identity, seed))
        if seed is not None and same:
            return [same]
        return [run for s in made.seeds if (run := self.done.runs.get((made.identity, s)))]

    def close(self, parent: str, records: list[Recorded]) -> None:
        """Ends the parent run: which run shows which node (restored ones too), the claims as its note, the report's page."""
        nodes = {
            r.name(s): self.done.runs[r.identity, s] for r in records for s in r.seeds if (r.identity, s) in self.done.runs
        }
        tags = {"prelude.nodes": view.cut(json.dumps(nodes, sort_keys=True))}
        note = verdicts.markdown(verdicts.read(self.workspace))
        if note:
            tags["mlflow.note.content"] = view.cut(note)
        self.client.log_batch(parent, tags=view.run_tags(tags))
        self.artifacts(parent, self.workspace.page)
        page = runs_page(self.store, self.plan.tracking)
        self.done.pages = {"mlflow": f"{page}/{parent}"}
        for r in records:
            if r.stage == "pretrain":
                self.done.pages[f"mlflow {r.key}"] = f"{page}/{self.done.runs[r.identity, r.seeds[0]]}"
        began = self.client.get_run(parent).info.start_time  # after all records, where nothing new came of it
        self.client.set_terminated(parent, "FINISHED", end_time=max([began, *(r.ended() for r in records)]))

    def artifacts(self, run_id: str, folder: Path) -> None:
        for path in sorted(folder.glob("*")) if folder.is_dir() else ():
            if path.is_file() and path.suffix in (".html", ".json", ".png", ".svg") and path.name != atomic.MANIFEST:
                self.client.log_artifact(run_id, str(path))

    def bury(self) -> None:
        """Ends the runs of stages that were stopped before their record was written."""
        left = self.client.search_runs(
            [self.store.experiment],
            filter_string=f"attributes.status = 'RUNNING' and tags.`{view.WORKSPACE}` = '{self.here}'",
        )
        known: Mapping[str, None] = dict.fromkeys(self.done.runs.values())
        for run in left:
            if run.info.run_id not in known:
                self.client.set_tag(run.info.run_id, "prelude.stopped", "its stage ended before it wrote a record")
                self.client.set_terminated(run.info.run_id, "KILLED")
