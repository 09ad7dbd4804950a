"""Events at the ingest: the vocabulary of the train split, moments that cannot be, windows and what follows them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common.corpus import Column, Corpus
from stages.common.errors import UserError
from stages.ingest.core import moments
from stages.ingest.core.item import BadItem
from stages.ingest.core.values import store
from stages.ingest.core.windows import Windows
from tests.ingest.making import HALVES, ingest, put


def table(root: Path, changes: dict[str, Any] | None = None, **reader: Any) -> Corpus:
    """40 customers with 1 to 5 events, and as many of a code of their own as their number says; the last has one in 2031."""
    lines = ["who,when,what"]
    for c in range(40):
        lines += [f"c{c:02d},2024-01-0{d + 1},{'pqrst'[(c * d) % 5]}" for d in range(1 + c % 5)]
        lines += [f"c{c:02d},2024-01-09,own{c:02d}"] * c
    put(root / "f", {"events.csv": "\n".join([*lines, "c39,2031-01-01,p"])})
    given = {"name": "event_table", "entity": "who", "time": "when", "code": ["what"], **reader}
    source = {"name": "folder", "path": str(root / "f")}
    return ingest(root / "w", {"source": source, "reader": given, **HALVES, "quarantine_share": 0.1, **(changes or {})})


def test_the_vocabulary_is_the_train_splits_most_frequent_codes_first(tmp_path: Path) -> None:
    found = table(tmp_path, {"codes": 3})

    def ranked(splits: list[str] | None) -> list[str]:
        counts = Counter(e["code"] for row in found.table(["events"], splits)["events"].to_pylist() for e in row)
        return sorted(counts, key=lambda c: (-counts[c], c))

    assert found.card.column("events").classes == ranked(["train"])[:3] != ranked(None)[:3]


def test_a_corpus_that_does_not_ask_has_none(tmp_path: Path) -> None:
    assert table(tmp_path).card.column("events").classes is None


def test_a_vocabulary_of_no_events_or_no_codes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a vocabulary of 0 codes"):
        table(tmp_path, {"codes": 0})
    plan = {
        "source": {"name": "simulated", "simulator": {"name": "shapes", "items": 20}},
        "reader": {"name": "items"},
        "provenance": "simulated",
        "codes": 5,
    }
    with pytest.raises(UserError, match="no events to learn codes from"):
        ingest(tmp_path / "s", plan)


def test_an_event_after_until_puts_its_entity_in_quarantine(tmp_path: Path) -> None:
    found = table(tmp_path, until="2030-12-31")
    assert [q["item"] for q in found.card.quarantined] == ["c39"]
    assert "an event in the future" in found.card.quarantined[0]["reason"] and found.card.totals["quarantined"] == 1
    assert "c39" not in found.table(["id"])["id"].to_pylist()


def test_more_of_them_than_the_plan_allows_stops_the_ingest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="an event in the future"):
        table(tmp_path, until="2024-01-02")


def test_until_is_a_moment() -> None:
    assert moments.limit(None) == math.inf and moments.limit("1970-01-02") == 86400.0 and moments.limit(5) == 5.0
    with pytest.raises(UserError, match="neither a number nor a date"):
        moments.limit("soon")


@pytest.mark.parametrize("times", [[0.0, math.nan], [0.0, math.inf], [2.0, 1.0]])
def test_a_time_that_is_none_or_runs_backwards_is_a_bad_item(times: list[float]) -> None:
    with pytest.raises(BadItem, match="not in the order of time"):
        store(Column("events", "media", "events"), [(t, "a", None) for t in times], "x")


def subjects(root: Path) -> Path:
    """Subjects 0 .. 9 with 3 + 5 s events a minute apart: codes A//0, B//1, A//2 ..."""
    rows = [(s, i * 60_000_000, f"{'AB'[i % 2]}//{i}", float(i)) for s in range(10) for i in range(3 + 5 * s)]
    subject, time, code, value = (list(column) for column in zip(*rows, strict=True))
    (root / "f").mkdir()
    columns = {"subject_id": subject, "time": pa.array(time, pa.timestamp("us")), "code": code, "numeric_value": value}
    pq.write_table(pa.table(columns), root / "f/e.parquet")
    return root / "f"


def windowed(root: Path, **changes: Any) -> Corpus:
    given = {"name": "meds", "window": 3, "windows": 5, "kinds": ["A"], **changes}
    plan = {"source": {"name": "folder", "path": str(subjects(root))}, "reader": given, "labels": {"next": {"kind": "class"}}}
    return ingest(root / "w", {**plan, **HALVES, "quarantine_share": 0.5})


def test_a_window_ends_before_the_event_it_is_asked_for(tmp_path: Path) -> None:
    found = windowed(tmp_path)
    column = found.card.column("next")
    assert column.classes == ["A", "other"] and found.count() > 20
    for row in found.table(["id", "group", "events", "next"]).to_pylist():
        subject, start = row["id"].split("-")
        assert row["group"] == subject and [e["code"].split("//")[1] for e in row["events"]] == [
            str(int(start) + i) for i in range(3)
        ]
        assert column.classes[row["next"]] == ("A" if (int(start) + 3) % 2 == 0 else "other")
    assert [q["item"] for q in found.card.quarantined] == ["0"]


def test_no_subject_lies_in_two_splits(tmp_path: Path) -> None:
    rows = windowed(tmp_path).table(["group", "split"]).to_pylist()
    places = {(r["group"], r["split"]) for r in rows}
    assert len(places) == len({group for group, _ in places}) > 5 and len({split for _, split in places}) > 1


def test_a_subject_with_an_event_in_the_future_is_set_aside(tmp_path: Path) -> None:
    found = windowed(tmp_path, until=45 * 60.0)
    assert {q["item"] for q in found.card.quarantined} == {"0", "9"}
    assert any("in the future" in q["reason"] for q in found.card.quarantined)


def test_windows_are_spread_evenly_and_leave_an_event() -> None:
    assert Windows(10, 3).starts(100) == [0, 40, 80] and Windows(10, 3).starts(101) == [0, 40, 90]
    assert Windows(10, 3).starts(10) == [] and Windows(10, 3).starts(11) == [0]


def test_windows_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="windows of 0 events"):
        windowed(tmp_path, window=0)
