"""The history of logged scalars."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from stages.pretrain.core.history import SCHEMA, History


def test_values_are_written_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    history = History()
    history.add(1, {"total": 0.5, "lr": 0.1})
    history.add(2, {"total": 0.25})
    history.write(tmp_path / "h.parquet")
    table = pq.read_table(tmp_path / "h.parquet")
    assert table.schema.equals(SCHEMA)
    rows = [(1, "total", 0.5), (1, "lr", 0.1), (2, "total", 0.25)]
    assert [tuple(r.values()) for r in table.to_pylist()] == rows
    assert history.of("total") == [(1, 0.5), (2, 0.25)] and history.of("other") == []


def test_an_empty_history_is_a_valid_table(tmp_path: Path) -> None:
    History().write(tmp_path / "h.parquet")
    table = pq.read_table(tmp_path / "h.parquet")
    assert table.num_rows == 0 and table.schema.equals(SCHEMA)


def test_it_goes_on_from_its_state(tmp_path: Path) -> None:
    whole, first, second = History(), History(), History()
    for history in (whole, first):
        history.add(1, {"a": 1.0, "b": 2.0})
    second.load(first.state())
    for history in (whole, second):
        history.add(2, {"b": 1 / 3})
    assert len(second) == 3
    whole.write(tmp_path / "a.parquet")
    second.write(tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
