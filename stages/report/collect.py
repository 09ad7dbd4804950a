"""What the report is made from: evaluated systems (data/reports) and the nodes' records (data/records)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common import atomic, contents, parquet
from stages.common.errors import ContractError
from stages.common.plan import SECTIONS
from stages.common.records import SERIES
from stages.common.workspace import Workspace
from stages.report import exhibits

STAGES = tuple(SECTIONS)  # ingest, pretrain, extract, fit, evaluate; the report's own record is not part of itself
Curve = dict[int, tuple[list[int], list[float]]]  # {seed: (steps, values)}


@dataclass(frozen=True)
class Node:
    """One node's record; `record` is record.json as it is, so that fields may be missing."""

    stage: str
    key: str
    record: dict[str, Any]
    series: dict[str, Curve] = field(default_factory=dict)  # by the name of what was logged
    contents: Any = None  # of an ingest: the digests of its rows (an Arrow table)

    @property
    def id(self) -> str:
        return f"{self.stage}/{self.key}"

    @property
    def plan(self) -> dict[str, Any]:
        return self.record.get("plan") or {}

    @property
    def details(self) -> dict[str, Any]:
        return self.record.get("details") or {}


@dataclass(frozen=True)
class Found:
    """systems: {id: result.json}. maps: {system: {task: {seed: columns id, x, y, label}}}. nodes: in order of the DAG.

    exhibits: {system: pictures and sounds with their content}.
    """

    systems: dict[str, dict[str, Any]]
    maps: dict[str, dict[str, dict[int, dict[str, list[Any]]]]]
    nodes: list[Node]
    exhibits: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def folders(workspace: Workspace) -> dict[str, Path]:
    """Every finished report and record of the workspace by name, such as reports/simclr and records/fit/probe."""
    found = {f"reports/{p.name}": p for p in _finished(workspace.data / "reports")}
    for stage in STAGES:
        found |= {f"records/{stage}/{p.name}": p for p in _finished(workspace.data / "records" / stage)}
    return found


def collect(inputs: Mapping[str, Path]) -> Found:
    """Reads the folders named by `folders`. Raises ContractError where one is damaged."""
    systems, maps, nodes, shown = {}, {}, [], {}
    for name, folder in inputs.items():
        kind, _, rest = name.partition("/")
        if kind == "reports":
            systems[rest] = _mapping(folder / "result.json")
            maps[rest] = _maps(folder / "map.parquet")
            shown[rest] = exhibits.read(folder, systems[rest])
        else:
            stage, _, key = rest.partition("/")
            held = contents.read(folder / contents.NAME) if stage == "ingest" else None
            nodes.append(Node(stage, key, _mapping(folder / "record.json"), _series(folder / "series.parquet"), held))
    return Found(systems, maps, nodes, shown)


def _finished(parent: Path) -> Iterator[Path]:
    return (p.parent for p in sorted(parent.glob(f"*/{atomic.MANIFEST}")))


def _mapping(path: Path) -> dict[str, Any]:
    value = atomic.read_json(path)
    if not isinstance(value, dict):
        raise ContractError("expected an object of keys and values", where=path, do="run its stage again")
    return value


def _table(path: Path, columns: tuple[str, ...]) -> dict[str, list[Any]]:
    """A Parquet file's columns as lists; all empty where there is no file. Raises ContractError."""
    if not path.is_file():
        return {c: [] for c in columns}
    with parquet.readable("the table cannot be read", where=path, do="run its stage again"):
        table = parquet.read(path)
    missing = [c for c in columns if c not in table.schema.names]
    if missing:
        raise ContractError(f"columns are missing: {', '.join(missing)}", where=path, do="run its stage again")
    return {c: table[c].to_pylist() for c in columns}


def _series(path: Path) -> dict[str, Curve]:
    columns = _table(path, tuple(SERIES))
    found: dict[str, Curve] = {}
    for seed, step, name, value in zip(columns["seed"], columns["step"], columns["name"], columns["value"]):
        if value is not None and abs(value) < float("inf"):  # NaN compares false: a curve stops where it is not finite
            steps, values = found.setdefault(name, {}).setdefault(seed, ([], []))
            steps.append(step)
            values.append(value)
    return found


def _maps(path: Path) -> dict[str, dict[int, dict[str, list[Any]]]]:
    columns = _table(path, ("task", "seed", "id", "x", "y", "label"))
    found: dict[str, dict[int, dict[str, list[Any]]]] = {}
    for task, seed, *values in zip(*columns.values()):
        into = found.setdefault(task, {}).setdefault(seed, {c: [] for c in ("id", "x", "y", "label")})
        for name, value in zip(into, values):
            into[name].append(value)
    return found
