"""2-D maps of features (head `feature_map`), thinned to what a page can show."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from stages.common import atomic, parquet
from stages.common.errors import ContractError
from stages.evaluate.judged import Judged

HEAD, MAP = "feature_map", "map.parquet"
POINTS = 1000  # per task and seed
COLUMNS = ("seed", "id", "x", "y", "label")
SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        pa.field("label", pa.string()),
    ]
)


def collect(judged: Mapping[str, Judged]) -> pa.Table:
    """The maps of every task that made one: task, seed, id, x, y, label (a class by its name; null: not labelled)."""
    found = [_map(task) for task in judged.values() if task.result.head == HEAD]
    return pa.concat_tables(found) if found else SCHEMA.empty_table()


def _map(task: Judged) -> pa.Table:
    path = task.folder / MAP
    if MAP not in atomic.manifest(task.folder)["files"]:
        raise ContractError("a feature map without points", where=path, do="run the fit again")
    table = _read(path)
    kept = _thinned(table["id"].to_pylist())
    table = table.filter(pc.is_in(table["id"], value_set=pa.array(sorted(kept), pa.string())))
    labels = pa.array([_label(v, task.result.classes) for v in table["label"].to_pylist()], pa.string())
    columns = [pa.array([task.key] * table.num_rows, pa.string()), *(table[c] for c in COLUMNS[:-1]), labels]
    return pa.table(columns, names=["task", *COLUMNS]).cast(SCHEMA)


def _read(path: Path) -> pa.Table:
    with parquet.readable("the map cannot be read", where=path, do="run the fit again"):
        table = parquet.read(path)
    missing = [c for c in COLUMNS if c not in table.schema.names]
    if missing:
        raise ContractError(f"columns are missing: {', '.join(missing)}", where=path, do=f"expected {', '.join(COLUMNS)}")
    return table.set_column(table.schema.get_field_index("id"), "id", table["id"].cast(pa.string()))


def _thinned(ids: list[str]) -> set[str]:
    """The ids with the smallest hashes: a random choice that is the same for every seed, task and run."""
    return set(sorted(set(ids), key=lambda i: hashlib.sha256(i.encode()).digest())[:POINTS])


def _label(value: object, classes: list[str]) -> str | None:
    if value is None or value != value:
        return None
    if isinstance(value, (int, float)) and float(value).is_integer():
        index = int(value)
        return classes[index] if 0 <= index < len(classes) else str(index)
    return str(value)
