"""The task contract: `predictions.parquet` and `metrics.json`.

predictions: seed, slice (label share), id, index, target, prediction, score, target_text, prediction_text. Class targets and
predictions are indices as float64; score is a list of class probabilities (C,), for numbers empty or what their metrics read,
such as the coordinates of a point; of a text label the last two are filled instead.
metrics.json: {"task", "system", "features", "encoder", "head", "classes", "metrics": [{"name", "slice", "seed", "value", "n"}],
"details": {...}, "exhibits": [...]}, and the exhibits' files beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.parquet import WRITTEN, opened, readable
from stages.common.schema import as_plain, build

METRICS, PREDICTIONS = "metrics.json", "predictions.parquet"
SCHEMA = pa.schema(
    [
        pa.field("seed", pa.int32(), nullable=False),
        pa.field("slice", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),
        pa.field("target", pa.float64()),
        pa.field("prediction", pa.float64()),
        pa.field("score", pa.list_(pa.float32()), nullable=False),
        pa.field("target_text", pa.string()),
        pa.field("prediction_text", pa.string()),
    ]
)


@dataclass(frozen=True)
class Value:
    """One figure: a metric at a label share for a seed, over n test items (0 where no items are behind it).

    value: None where there is none, such as the AUC of one class; what is not finite becomes None.
    """

    name: str
    value: float | None
    seed: int
    slice: str = "all"
    n: int = 0

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            object.__setattr__(self, "value", None)


@dataclass(frozen=True)
class Shown:
    """A picture or a sound that a head made, as a file beside metrics.json. place: (row, column) in the report's table."""

    kind: Literal["picture", "sound"]
    file: str
    caption: str
    place: tuple[str, str]
    seed: int = 0
    slice: str = "all"


@dataclass(frozen=True)
class Exhibit:
    """The same before it is written: a PNG of a picture, a canonical WAV of a sound. name: of the file, without its end."""

    kind: Literal["picture", "sound"]
    name: str
    content: bytes
    caption: str
    place: tuple[str, str]

    def written(self, folder: Path, seed: int, slice: str) -> Shown:
        """Writes the file into a task's folder; seeds and label shares do not meet."""
        file = f"{self.name}_{slice.rstrip('%')}_seed{seed}.{'png' if self.kind == 'picture' else 'wav'}"
        (folder / file).write_bytes(self.content)
        return Shown(self.kind, file, self.caption, self.place, seed, slice)


@dataclass(frozen=True)
class TaskResult:
    """metrics.json."""

    task: str
    system: str
    features: str
    encoder: str
    head: str
    metrics: list[Value]
    classes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    exhibits: list[Shown] = field(default_factory=list)

    def values(self, name: str, slice: str = "all") -> dict[int, float]:
        """{seed: value} of one metric at one label share."""
        return {v.seed: v.value for v in self.metrics if v.name == name and v.slice == slice and v.value is not None}


@dataclass
class Predictions:
    """Predictions of one seed at one label share: ids (N,), target (N,), prediction (N,), score (N, C) or None.

    target and prediction are float64, or texts as objects.
    """

    seed: int
    slice: str
    ids: np.ndarray
    target: np.ndarray
    prediction: np.ndarray
    score: np.ndarray | None = None
    index: np.ndarray | None = None


def write(folder: Path, result: TaskResult, predictions: list[Predictions]) -> None:
    """Writes both files into an existing folder; equal results give equal bytes."""
    with pq.ParquetWriter(folder / PREDICTIONS, SCHEMA, compression="zstd", **WRITTEN) as writer:
        for p in predictions:
            n = len(p.ids)
            if p.score is None:
                score = pa.array([[]] * n, pa.list_(pa.float32()))
            else:
                offsets = pa.array(np.arange(n + 1, dtype=np.int32) * p.score.shape[1])
                score = pa.ListArray.from_arrays(offsets, pa.array(p.score.astype(np.float32).reshape(-1)))
            index = np.zeros(n, np.int32) if p.index is None else p.index.astype(np.int32)
            texts = p.target.dtype == object
            nothing = pa.nulls(n)
            columns = [
                pa.array(np.full(n, p.seed, np.int32)),
                pa.array([p.slice] * n, pa.string()),
                pa.array(p.ids, pa.string()),
                pa.array(index),
                nothing.cast(pa.float64()) if texts else pa.array(p.target.astype(np.float64)),
                nothing.cast(pa.float64()) if texts else pa.array(p.prediction.astype(np.float64)),
                score,
                pa.array(p.target, pa.string()) if texts else nothing.cast(pa.string()),
                pa.array(p.prediction, pa.string()) if texts else nothing.cast(pa.string()),
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
    atomic.write_json(folder / METRICS, as_plain(result))


def read_result(folder: Path) -> TaskResult:
    """metrics.json of a sealed folder. Raises ContractError."""
    atomic.manifest(folder)
    return build(TaskResult, atomic.read_json(folder / METRICS), str(folder / METRICS))


def read_predictions(folder: Path, seed: int, slice: str) -> Predictions:
    """The predictions of one seed at one label share. Raises ContractError where there are none or they are damaged."""
    path = folder / PREDICTIONS

    def of(table: pa.Table) -> pa.ChunkedArray:
        return pc.and_(pc.equal(table["seed"], seed), pc.equal(table["slice"], slice))

    with readable("the predictions cannot be read", where=path, do="run the fit again"):
        file = opened(path)
        if file.schema_arrow != SCHEMA:
            raise ContractError(f"unexpected columns: {file.schema_arrow}", where=path, do="run the fit again")
        held = (file.read_row_group(g, columns=["seed", "slice"], use_threads=False) for g in range(file.num_row_groups))
        table = file.read_row_groups([g for g, table in enumerate(held) if pc.any(of(table)).as_py()], use_threads=False)
        table = table.filter(of(table))
    if not table.num_rows:
        raise ContractError(f"no predictions of seed {seed} at label share {slice!r}", where=path, do="run the fit again")
    table = table.combine_chunks()
    flat = table["score"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    n = table.num_rows
    score = flat.reshape(n, -1) if n and len(flat) else None
    end = "_text" if table["target_text"].null_count < n else ""
    arrays = [table[c].to_numpy() for c in ("id", f"target{end}", f"prediction{end}", "index")]
    return Predictions(seed, slice, arrays[0], arrays[1], arrays[2], score, arrays[3])
