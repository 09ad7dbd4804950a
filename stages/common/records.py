"""The record of a node: what it was given, what it made, how long it took. The truth of which MLflow shows a view.

data/records/<stage>/<key>/record.json, and series.parquet (seed, step, name, value, at) where values were logged by step.
A stage may add tables of its own.
Whatever varies from run to run (clocks, durations, machine) lives here and only here.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages.common import process
from stages.common.atomic import write_json

SERIES = {"seed": "int32", "step": "int64", "name": "string", "value": "float64", "at": "float64"}
_PACKAGES = ("torch", "numpy", "pyarrow", "polars", "scikit-learn", "safetensors", "dvc", "mlflow", "prefect")


@dataclass
class Record:
    """Filled in by a stage while it works; `write` puts it down.

    metrics: [{"name", "value", "seed", "slice", "n"}]. inputs and outputs: [{"name", "path", "digest"}].
    """

    stage: str
    key: str
    digest: str
    plan: dict[str, Any]
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    throughput: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)  # stage's own: corpus card, shapes, counts
    device: str = "cpu"
    series: list[tuple[int, int, str, float, float]] = field(default_factory=list)
    tables: dict[str, Any] = field(default_factory=dict)  # further Arrow tables, by file name
    started: float = field(default_factory=time.time)
    _began: float = field(default_factory=time.monotonic)  # the clock may be set meanwhile

    def metric(self, name: str, value: float, *, seed: int | None = None, slice: str = "all", n: int | None = None) -> None:
        """Notes one final value; `slice` is the label share or subgroup, `n` the number of items behind it."""
        self.metrics.append({"name": name, "value": float(value), "seed": seed, "slice": slice, "n": n})

    def warn(self, text: str) -> None:
        """A warning that the report and MLflow repeat."""
        if text not in self.warnings:
            self.warnings.append(text)

    def write(self, folder: Path) -> None:
        """Writes record.json, and series.parquet and tables where there are any, into an existing folder."""
        took = time.monotonic() - self._began
        self.timings.setdefault("total_s", took)
        write_json(
            folder / "record.json",
            _plain(
                {
                    "stage": self.stage,
                    "key": self.key,
                    "digest": self.digest,
                    "plan": self.plan,
                    "inputs": self.inputs,
                    "outputs": self.outputs,
                    "metrics": self.metrics,
                    "timings": self.timings,
                    "throughput": self.throughput,
                    "warnings": self.warnings,
                    "details": self.details,
                    "device": self.device,
                    "started": datetime.fromtimestamp(self.started, UTC).isoformat(),
                    "ended": datetime.fromtimestamp(self.started + took, UTC).isoformat(),
                    "peak_memory_mb": peak_memory_mb(),
                    "versions": versions(),
                }
            ),
        )
        if self.series:
            _write_series(folder / "series.parquet", self.series)
        for name, table in self.tables.items():
            import pyarrow.parquet as pq

            pq.write_table(table, folder / name, compression="zstd")


def peak_memory_mb() -> float:
    """Largest resident size so far, in MiB, of this process, a seed's worker or any child that has ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(*(resource.getrusage(kind).ru_maxrss for kind in kinds), *process.PEAKS) / 1024


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape results, of those that are installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _plain(value: Any) -> Any:
    """`value` as JSON can say it: NumPy's numbers as Python's, numbers that are not finite as None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_series(path: Path, rows: list[tuple[int, int, str, float, float]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(c, t) for c, t in zip(columns, SERIES.values(), strict=True)]
    pq.write_table(pa.table(arrays, names=list(SERIES)), path, compression="zstd")
