"""`prelude show`: a node, what it read and who read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stages.common import atomic
from tests.flows.conftest import Said

Capture = pytest.CaptureFixture[str]


def test_show_names_what_a_node_read_and_who_read_it(ran: Path, capsys: Capture) -> None:
    record = Said(capsys, "show", "extract@trained", "--json").json
    assert (record["stage"], record["key"]) == ("extract", "trained")
    shown = Said(capsys, "show", "probe").out
    assert shown.startswith("fit@probe  (cpu, ") and "data/features/trained" in shown and "evaluate@one" in shown
    assert "accuracy                 0.9000  labels 5 seed 0  n=40" in shown and "warning  a warning" in shown


@pytest.mark.parametrize(
    ("node", "shown"),
    [
        ("trained", "do: write one of: extract@trained, pretrain@trained"),
        ("prob", "did you mean 'probe'?"),
        ("fit@trained", "unknown node 'fit@trained'"),
    ],
)
def test_show_asks_which_node_is_meant(ran: Path, capsys: Capture, node: str, shown: str) -> None:
    said = Said(capsys, "show", node)
    assert said.code == 2 and shown in said.err


def test_two_nodes_of_equal_content_are_two_in_the_lineage(ran: Path, capsys: Capture) -> None:
    digests = {atomic.manifest(ran / "data" / path)["digest"] for path in ("encoders/trained", "features/trained")}
    assert len(digests) == 1
    record = Said(capsys, "show", "extract@trained", "--json").json
    assert record["reads"] == ["ingest@digits", "pretrain@trained"]
    assert record["read_by"] == ["fit@control", "fit@probe"]
    shown = Said(capsys, "show", "extract@trained").out
    assert "reads    ingest@digits, pretrain@trained\n" in shown and "read by  fit@control, fit@probe\n" in shown


def test_a_node_that_read_an_earlier_output_is_no_reader_of_this_one(ran: Path, capsys: Capture) -> None:
    path = ran / "data/records/extract/trained/record.json"
    record = json.loads(path.read_text())
    record["outputs"][0]["digest"] = "0" * 64
    path.write_text(json.dumps(record))
    assert Said(capsys, "show", "extract@trained", "--json").json["read_by"] == []


def test_show_says_where_a_figure_is_not_finite(ran: Path, capsys: Capture) -> None:
    path = ran / "data/records/fit/probe/record.json"
    record = json.loads(path.read_text())
    record["throughput"] = {"rows_per_s": None}
    record["metrics"][0]["value"] = None
    path.write_text(json.dumps(record))
    said = Said(capsys, "show", "probe")
    assert said.code == 0 and said.out.count("not finite") == 2
