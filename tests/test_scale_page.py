"""docs/scale.md: its tables are what the measured rates give, and the formulas are those it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import expected, rates

ROOT = Path(__file__).resolve().parents[1]
RATE = {"bytes": 1000.0, "decode_s": 0.001, "views_s": 0.002, "forward_s": 0.1, "train_s": 0.3, "dimension": 100.0}
RATE["parameters"] = 1e6


def test_the_tables_are_those_of_the_committed_rates() -> None:
    measured = json.loads(expected.RATES.read_text())
    page = (ROOT / "docs/scale.md").read_text()
    assert expected.expected(measured) in page and expected.saturated(measured) in page


def test_a_text_that_is_measured_fills_its_window(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    column, stored, size = rates.text(300, tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert column.kind == "text" and len(stored) == 300 and size > 300
    assert all(len(tokenizer.encode(text).ids) >= 128 for text in stored.to_pylist())


def test_a_row_by_hand() -> None:
    # 10^6 x (0.001 + 0.1) / 16 / 3600 = 1.753 node-hours; x (0.001 + 0.002 + 0.3) = 5.26: a day is more than enough
    assert expected.row(10**6, RATE) == ["1 GB", "336 MB", "1.8", "5.3", "1", "not measured"]
    assert expected.row(10**9, RATE)[2:5] == ["1,800", "5,300", "220"]  # 5260 / 24 = 219.2


def test_what_each_part_lets_through_by_hand() -> None:
    assert expected.ceilings(RATE) == pytest.approx(
        {"disk": 1e6, "decode": 16_000, "network": 40_000, "training on its cores": 16 / 0.302}
    )
    assert "| training on its cores | not measured | decode |" in expected.saturated({"x": RATE})
