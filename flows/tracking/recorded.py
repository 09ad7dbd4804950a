"""Records read back from data/records, in the order of the DAG."""

from __future__ import annotations

import functools
import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.workspace import Workspace

ORDER = ("ingest", "pretrain", "extract", "fit", "evaluate", "report")


@dataclass(frozen=True)
class Recorded:
    """One node's record. `seeds`: the seeds the node fans out to; (None,) for a node without seeds."""

    folder: Path
    data: dict[str, Any]

    @property
    def stage(self) -> str:
        return str(self.data["stage"])

    @property
    def key(self) -> str:
        return str(self.data["key"])

    @property
    def node(self) -> str:
        return f"{self.stage}/{self.key}"

    @property
    def digest(self) -> str:
        """Of the node's plan, inputs and code: what a running stage's live events carry too."""
        return str(self.data["digest"])

    @functools.cached_property
    def identity(self) -> str:
        """Of what was given and what came out: two records with one identity are one result, shown once."""
        return atomic.digest_json([self.digest, [o["digest"] for o in self.data["outputs"]]])

    @property
    def seeds(self) -> tuple[int | None, ...]:
        seeds = self.data["plan"].get("seeds")
        return tuple(seeds) if seeds else (None,)

    @property
    def outputs(self) -> list[str]:
        return [str(o["path"]) for o in self.data["outputs"]]

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """Its inputs, each path once (an optional second input defaults to the first)."""
        return list({i["path"]: i for i in reversed(self.data["inputs"])}.values())[::-1]

    def started(self) -> int:
        return _milliseconds(self.data["started"])

    def ended(self) -> int:
        return _milliseconds(self.data["ended"])

    def name(self, seed: int | None) -> str:
        """What the run is called in the UI, such as `pretrain/simclr seed 0`."""
        return self.node if seed is None else f"{self.node} seed {seed}"

    @functools.cached_property
    def series(self) -> dict[int, list[tuple[str, int, float, int]]]:
        """{seed: [(name, step, value, milliseconds)]} of the values logged by step."""
        path = self.folder / "series.parquet"
        if not path.exists():
            return {}
        from stages.common import parquet  # pyarrow takes its time

        columns = parquet.read(path).to_pydict()
        found: dict[int, list[tuple[str, int, float, int]]] = {}
        for seed, step, name, value, at in zip(*(columns[c] for c in ("seed", "step", "name", "value", "at")), strict=True):
            found.setdefault(seed, []).append((name, step, value, int(at * 1000)))
        return found


def read(folder: Path) -> Recorded | None:
    """The record in a folder, or None where there is none that is whole."""
    try:
        data = json.loads((folder / "record.json").read_bytes())
    except (OSError, ValueError):
        return None
    return Recorded(folder, data) if isinstance(data, dict) and "digest" in data else None


def read_all(workspace: Workspace) -> tuple[list[Recorded], list[Path]]:
    """All whole records, an input's record before those that use it; and the folders whose record is damaged."""
    folders = sorted(p for p in (workspace.data / "records").glob("*/*") if p.is_dir() and not p.name.startswith("."))
    whole = {folder: read(folder) for folder in folders}
    return ordered(r for r in whole.values() if r), [folder for folder, r in whole.items() if r is None]


def ordered(records: Iterable[Recorded]) -> list[Recorded]:
    """By stage, then parents before their children (an encoder may start from another, a task may support another)."""
    waiting = sorted(records, key=lambda r: (ORDER.index(r.stage) if r.stage in ORDER else len(ORDER), r.key))
    made = {path for r in waiting for path in r.outputs}
    lacking = [{i["path"] for i in r.inputs} & made for r in waiting]
    readers: dict[str, list[int]] = {}
    for at, paths in enumerate(lacking):
        for path in paths:
            readers.setdefault(path, []).append(at)
    left = dict.fromkeys(range(len(waiting)))
    ready = [at for at in left if not lacking[at]]  # in order, hence a heap
    done: list[Recorded] = []
    while left:
        taken = heapq.heappop(ready) if ready else next(iter(left))  # of a circle, as records of an older plan may form
        if taken not in left:  # it was taken out of a circle
            continue
        del left[taken]
        done.append(waiting[taken])
        for path in waiting[taken].outputs:
            for at in readers.pop(path, ()):
                lacking[at].discard(path)
                if not lacking[at]:
                    heapq.heappush(ready, at)
    return done


def _milliseconds(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1000)
