"""Two tables become a graph with texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from tests.ingest.making import HALVES, ingest, put

NODES = "paper\tabstract\tfield\n" + "".join(f"p{i}\ttext of {i}\t{'ab'[i % 2]}\n" for i in range(8)) + "p0\tagain\ta\n"
EDGES = "from\tto\np0\tp1\np1\tp2\np2\tp2\np1\tp0\np9\tp1\n"


def corpus(root: Path, edges: str = EDGES, **reader: Any) -> Any:
    put(root / "f", {"nodes.tsv": NODES, "edges.tsv": edges})
    names = {"nodes": "nodes.tsv", "edges": "edges.tsv", "id": "paper", "text": "abstract", "ends": ["from", "to"]}
    source = {"name": "folder", "path": str(root / "f")}
    plan = {"source": source, "reader": {"name": "edge_list", **names, **reader}, "labels": {"field": {"kind": "class"}}}
    return ingest(root / "w", {**plan, **HALVES, "quarantine_share": 0.5})


def test_nodes_know_their_neighbours_in_both_directions_without_loops(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    rows = {r["id"]: r for r in found.table(["id", "text", "edges", "field"]).to_pylist()}
    assert rows["p0"]["edges"] == ["p1"] and rows["p1"]["edges"] == ["p0", "p2"] and rows["p2"]["edges"] == ["p1"]
    assert rows["p7"]["edges"] == [] and rows["p3"]["text"] == "text of 3" and rows["p3"]["field"] == 1
    assert {q["item"]: q["reason"] for q in found.card.quarantined} == {
        "p0": "its id comes twice",
        "edges.tsv:5": "an edge to 'p9', which is no node",
    }


def test_a_graph_without_edges_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the graph has no edge"):
        corpus(tmp_path, "from\tto\n")
    with pytest.raises(UserError, match="not among the source's files"):
        corpus(tmp_path / "b", nodes="node.tsv")


def test_with_hops_a_node_has_what_stands_around_it_as_the_reader_of_lines_gives_it(tmp_path: Path) -> None:
    found = corpus(tmp_path, hops=2, words=3)
    rows = {r["id"]: r for r in found.table(["id", "graph", "document_2", "walk_1"]).to_pylist()}
    assert rows["p0"]["graph"] == {"nodes": ["text of 0", "text of 1", "text of 2"], "edges": [0, 1, 1, 2], "degree": [1, 2, 1]}
    assert rows["p0"]["document_2"] == "#0 text of 0 ##1 text of 1 @0 ###2 text of 2 @1"
    assert (
        rows["p7"]["graph"] == {"nodes": ["text of 7"], "edges": [], "degree": [0]} and rows["p7"]["walk_1"] == "#0 text of 7"
    )
    assert corpus(tmp_path / "b", hops=2, around=2).card.totals["nodes"] == 2 + 2 + 2 + 5
    assert "graph" not in {c.name for c in corpus(tmp_path / "c").card.columns}
    with pytest.raises(UserError, match="1 or more, the budget 2 or more"):
        corpus(tmp_path / "d", hops=0)
