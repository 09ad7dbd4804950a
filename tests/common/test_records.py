"""A record says what a node was given, what it made and how long it took."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from stages.common.records import SERIES, Record, versions


def written(record: Record, folder: Path) -> dict[str, Any]:
    record.write(folder)
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def test_a_record_keeps_what_was_noted(tmp_path: Path) -> None:
    record = Record("fit", "probe", "d" * 64, {"label": "digit"})
    record.metric("accuracy", 1, seed=0, slice="5", n=40)
    record.timings["fit_s"] = 0.5
    found = written(record, tmp_path)
    assert found["metrics"] == [{"name": "accuracy", "value": 1.0, "seed": 0, "slice": "5", "n": 40}]
    assert (found["stage"], found["key"], found["digest"], found["plan"]) == ("fit", "probe", "d" * 64, {"label": "digit"})
    assert found["timings"]["fit_s"] == 0.5 and found["timings"]["total_s"] >= 0
    assert found["versions"]["python"] and found["peak_memory_mb"] > 1


def test_times_are_written_with_their_zone_and_in_order(tmp_path: Path) -> None:
    found = written(Record("fit", "probe", "d", {}), tmp_path)
    started, ended = (datetime.fromisoformat(found[k]) for k in ("started", "ended"))
    assert started.utcoffset() is not None and started <= ended


def test_a_metric_that_is_not_finite_is_written_as_none(tmp_path: Path) -> None:
    record = Record("fit", "probe", "d", {})
    for value in (float("nan"), float("inf"), 0.5):
        record.metric("m", value)
    assert [m["value"] for m in written(record, tmp_path)["metrics"]] == [None, None, 0.5]


def test_a_warning_is_kept_once() -> None:
    record = Record("fit", "probe", "d", {})
    record.warn("collapse")
    record.warn("collapse")
    assert record.warnings == ["collapse"]


def test_series_are_written_with_their_types_only_where_there_are_any(tmp_path: Path) -> None:
    record = Record("pretrain", "a", "d", {})
    written(record, tmp_path)
    assert not (tmp_path / "series.parquet").exists()
    record.series = [(0, 1, "loss", 0.5, 12.0), (1, 2, "loss", float("nan"), 13.0)]
    written(record, tmp_path)
    table = pq.read_table(tmp_path / "series.parquet")
    assert {f.name: str(f.type).replace("double", "float64") for f in table.schema} == SERIES
    assert table.slice(0, 1).to_pylist() == [{"seed": 0, "step": 1, "name": "loss", "value": 0.5, "at": 12.0}]


HOLD = """
from stages.common.records import peak_memory_mb
before = peak_memory_mb()
held = b"x" * int((before + 64) * 2**20)
print(peak_memory_mb() - before)
"""


def test_peak_memory_counts_what_was_held(python: Callable[..., subprocess.Popen[str]]) -> None:
    out, _ = python(HOLD).communicate(timeout=60)
    assert float(out) > 48


def test_versions_name_python_and_the_libraries_that_are_there() -> None:
    assert {"python", "pyarrow", "numpy"} <= set(versions())


def test_details_of_any_number_type_are_written(tmp_path: Path) -> None:
    record = Record("pretrain", "a", "d", {})
    record.details = {
        "loss": float("nan"),
        "by_seed": {0: np.float32(0.5), 1: np.float64("inf")},
        "rows": [np.int64(3), True, np.ones(2)],
    }
    record.throughput["rows_per_s"] = float("inf")
    found = written(record, tmp_path)
    assert found["details"] == {"loss": None, "by_seed": {"0": 0.5, "1": None}, "rows": [3, True, [1.0, 1.0]]}
    assert found["throughput"] == {"rows_per_s": None}
