"""Follows a pipeline at work: live events of its stages, and the records of those that ended, are in MLflow within seconds.

A stage appends to .prelude/live/<stage>/<key>/seed=<s>.jsonl. Each new step is logged once; a stage that was killed and goes on
from a snapshot writes some steps again, with the same values, and these are passed over. What is said of the pipeline as a
whole, and what was missed here, is left to the synchroniser when it is over.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.tracking import view
from flows.tracking.recorded import Recorded, ordered, read
from flows.tracking.store import Store, StoreDown, connect, first_line, locked
from flows.tracking.sync import Parents, Replay, Synchronised, workspace_id
from stages.common.plan import Plan
from stages.common.workspace import Workspace

if TYPE_CHECKING:
    from mlflow.entities import Metric

log = logging.getLogger("prelude.tracking")
INTERVAL_S = 2.0


@dataclass
class _File:
    """How far one live file is read, and the run it is shown in. last: the last step logged, by metric."""

    offset: int = 0
    head: bytes = b""
    digest: str = ""
    run: str = ""
    last: dict[str, int] = field(default_factory=dict)


class Tail:
    """`with Tail(workspace, plan): ...` follows what runs inside the block. MLflow being down costs nothing but the view."""

    def __init__(self, workspace: Workspace, plan: Plan, *, run_name: str | None = None, interval: float = INTERVAL_S) -> None:
        self.workspace, self.plan, self.name, self.interval = workspace, plan, run_name, interval
        self.files: dict[Path, _File] = {}
        self.store: Store | None = None
        self.parents: Parents | None = None
        self.replay: Replay | None = None
        self.written: dict[Path, int] = {}  # records, and when each was written, ns
        self.records: dict[Path, Recorded | None] = {}
        self._since = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="prelude-live", daemon=True)

    def __enter__(self) -> Tail:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Follows no longer."""
        self._stop.set()
        self._thread.join(timeout=30)

    def _follow(self) -> None:
        warned, wait = False, 0.0  # the first round opens the store: its 3 s pass while the stages work
        while not self._stop.wait(wait):
            wait = self.interval
            try:
                self.look()
            except StoreDown as down:
                problem = f"live figures are not shown: MLflow is down: {down}"
            except Exception as error:  # the view must never stop the work
                problem = f"live figures are not shown: {first_line(error)}"
            else:
                continue
            if not warned:
                log.warning("%s (the records are replayed later)", problem)
            warned = True

    def look(self) -> None:
        """One round: what was appended since the last one goes to MLflow, a batch per file, and the nodes that ended."""
        changed = [p for p in sorted(self.workspace.state.glob("live/*/*/seed=*.jsonl")) if self._news(p)]
        written = self._written()
        if self.store is not None and not changed and written == self.written:
            return
        with locked(self.workspace, self.plan.tracking, wait=False) as held:
            if not held:  # a synchroniser is at work: next time
                return
            if self.store is None:
                self.store = connect(self.workspace, self.plan.tracking)
                self.parents = Parents(self.store, self.workspace, self.plan, self.name)
                self.replay = Replay(self.store, self.workspace, self.plan, Synchronised())
            for path in changed:
                self._show(path, self.store)
            if written != self.written:
                self._complete(written)

    def _written(self) -> dict[Path, int]:
        found = {}
        for path in self.workspace.data.glob("records/*/*/record.json"):
            with contextlib.suppress(FileNotFoundError):  # it is being replaced
                found[path] = path.stat().st_mtime_ns
        return found

    def _complete(self, written: dict[Path, int]) -> None:
        """The runs of nodes that ended in this pipeline, until it is over: then the synchroniser has its turn."""
        assert self.replay is not None and self.parents is not None
        changed = written.items() - self.written.items()
        self.records = {path: self.records.get(path) for path in written} | {path: read(path.parent) for path, _ in changed}
        self.written = written
        new = {path.parent for path, at in written.items() if at >= self._since * 1e9}
        records = ordered(replace(r) for r in self.records.values() if r)  # copies, which take their series along when they go
        self.replay.runs(records, self.parents, lambda r: r.folder in new and not self._stop.is_set())

    def _news(self, path: Path) -> bool:
        stat = path.stat()
        if path not in self.files and stat.st_mtime < self._since:
            return False  # of an earlier run
        return stat.st_size != self.files.setdefault(path, _File()).offset

    def _show(self, path: Path, store: Store) -> None:
        at, stage, key = self.files[path], path.parent.parent.name, path.parent.name
        for digest, mine in _new_events(path, at):
            if digest != at.digest:
                at.digest, at.run, at.last = digest, "", {}
            recorded = read(self.workspace.record(stage, key))
            if recorded and recorded.digest == digest:
                continue  # done: the synchroniser shows it whole
            if not at.run:
                at.run, at.last = self._run(store, stage, key, mine[0])
            for some in view.batches(_metrics(mine, at.last), view.MOST_METRICS):
                store.client.log_batch(at.run, metrics=some)
                for metric in some:
                    at.last[metric.key] = max(metric.step, at.last.get(metric.key, -1))

    def _run(self, store: Store, stage: str, key: str, first: dict[str, Any]) -> tuple[str, dict[str, int]]:
        """The run to show a node's seed in, and the last steps it has: one begun before and left, or a new one."""
        assert self.parents is not None
        seed, here = int(first["seed"]), workspace_id(self.workspace)
        found = store.client.search_runs(
            [store.experiment],
            filter_string=f"tags.`{view.RECORD}` = '{first['digest']}' and tags.`{view.SEED}` = '{seed}' "
            f"and tags.`{view.LIVE}` = 'yes' and tags.`{view.WORKSPACE}` = '{here}'",
        )
        left = [r for r in found if view.IDENTITY not in r.data.tags]
        if left:
            run_id = left[0].info.run_id
            store.client.update_run(run_id, status="RUNNING")
            history = {k: store.client.get_metric_history(run_id, k) for k in left[0].data.metrics}
            return run_id, {k: max(m.step for m in points) for k, points in history.items() if points}
        tags = view.birth_tags(f"{stage}/{key}", first["digest"], seed, here, self.parents.get(int(self._since * 1000)))
        name = f"{stage}/{key} seed {seed}"
        run = store.client.create_run(
            store.experiment, start_time=int(first["at"] * 1000), tags=tags | {view.LIVE: "yes"}, run_name=name
        )
        return str(run.info.run_id), {}


def _new_events(path: Path, at: _File) -> list[tuple[str, list[dict[str, Any]]]]:
    """[(digest, its events)] appended since the last look. A file that shrank or has another head was begun again."""
    data = path.read_bytes()
    if at.offset > len(data) or not data.startswith(at.head):
        at.offset = 0
    lines = data[at.offset :].split(b"\n")
    at.offset, at.head = len(data) - len(lines[-1]), data[:100]  # the last line is still being written
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines[:-1]:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        found.setdefault(event["digest"], []).append(event)
    return list(found.items())


def _metrics(events: list[dict[str, Any]], last: Mapping[str, int]) -> list[Metric]:
    from mlflow.entities import Metric

    rows = {}
    for e in events:
        for name, value in e["values"].items():
            key = view.key(name)
            if e["step"] > last.get(key, -1):
                rows[key, e["step"]] = Metric(key, float(value), int(e["at"] * 1000), e["step"])
    return list(rows.values())
