"""Rows of events become one item per entity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from tests.ingest.making import HALVES, ingest, put

CSV = """customer,when,kind,product,amount,city,plan
c2,2024-01-02T00:00:00,buy,apple,2,Rome,gold
c1,2024-01-01T12:00:00+02:00,buy,pear,1.5,Oslo,free
c2,2024-01-01,look,apple,,Rome,gold
c1,2024-01-01T10:00:00,pay,pear,3,Oslo,free
c3,soon,buy,apple,1,Bern,free
c4,2024-01-01,buy,,1,Bern,free
c5,2024-01-01,buy,fig,1,Bern,free
c5,2024-01-02,buy,fig,1,Bern,gold
c6,2024-01-03,buy,fig,1,Bern,gold
"""


def corpus(root: Path, text: str = CSV, **reader: Any) -> Any:
    put(root / "f", {"events.csv": text})
    given = {"name": "event_table", "entity": "customer", "time": "when", "code": ["kind", "product"], "value": "amount"}
    return ingest(
        root / "w",
        {
            "source": {"name": "folder", "path": str(root / "f")},
            "reader": {**given, "static": ["plan"], **reader},
            "labels": {"plan": {"kind": "class"}},
            **HALVES,
            "quarantine_share": 0.6,
        },
    )


def test_each_entity_is_an_item_with_its_events_in_order_of_time(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    rows = {r["id"]: r for r in found.table(["id", "group", "events", "plan"]).to_pylist()}
    assert sorted(rows) == ["c1", "c2", "c6"] and rows["c1"]["group"] == "c1"
    day = 1704067200.0  # 2024-01-01, UTC
    assert [(e["time"], e["code"], e["value"]) for e in rows["c2"]["events"]] == [
        (day, "look//apple", None),
        (day + 86400, "buy//apple", 2.0),
    ]
    assert [(e["time"], e["code"]) for e in rows["c1"]["events"]] == [(day + 36000, "buy//pear"), (day + 36000, "pay//pear")]
    classes = found.card.column("plan").classes
    assert {i: classes[r["plan"]] for i, r in rows.items()} == {"c1": "free", "c2": "gold", "c6": "gold"}


def test_what_cannot_be_placed_in_time_or_differs_within_an_entity_is_quarantined(tmp_path: Path) -> None:
    assert {q["item"]: q["reason"] for q in corpus(tmp_path).card.quarantined} == {
        "c3": "when is 'soon', neither a number nor a date",
        "c4": "an event without a product",
        "c5": "plan is 'free' in one row and 'gold' in another",
    }


def test_times_may_be_numbers_and_a_missing_column_is_named(tmp_path: Path) -> None:
    text = "customer,when,kind,plan\n" + "".join(f"c{i},{10 - i}.5,a,{'free' if i % 2 else 'gold'}\n" for i in range(8))
    found = corpus(tmp_path, text, code=["kind"], value=None)
    assert found.table(["id", "events"]).to_pylist()[3]["events"] == [{"time": 7.5, "code": "a", "value": None}]
    with pytest.raises(UserError, match="amount"):
        corpus(tmp_path / "again", text, code=["kind"])
