"""Ego graphs and the documents written of them, against a reader that rebuilds the edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common.errors import UserError
from stages.ingest.core.documents import hierarchical, walk, words
from stages.ingest.core.ego import Ego, ego
from tests.ingest.making import ingest, put
from tests.ingest.test_special_readers import plan
from tests.networks import network
from tests.oracles import taga as slow


def texts(graph: Ego, count: int = 5) -> list[list[str]]:
    return [[f"n{node}w{i}" for i in range(1 + node % count)] for node in graph.nodes]


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_an_ego_graph_is_all_within_some_hops_and_every_edge_among_them(seed: int, hops: int) -> None:
    neighbours = network(seed, 16, 26)
    for centre in range(len(neighbours)):
        found = ego(neighbours, centre, hops, 100)
        far = slow.distances(neighbours, centre)
        assert dict(zip(found.nodes, found.hop, strict=True)) == {n: h for n, h in far.items() if h <= hops}
        assert found.nodes[0] == centre and found.hop == sorted(found.hop)
        edges = {frozenset((found.nodes[a], found.nodes[b])) for a, b in found.edges}
        assert edges == {frozenset((a, b)) for a in found.nodes for b in neighbours[a] if b in found.nodes}
        assert len(found.edges) == len(edges) and all(a < b for a, b in found.edges)


def test_a_cut_ego_graph_keeps_near_nodes_and_is_drawn_by_the_seed() -> None:
    neighbours = [set(range(1, 11)), *({0} for _ in range(10))]
    neighbours[1].add(11)
    neighbours.append({1})
    drawn = [tuple(ego(neighbours, 0, 2, 5, seed).nodes) for seed in range(40)]
    assert all(len(set(nodes)) == 5 and 11 not in nodes for nodes in drawn)  # a node of two hops goes first
    assert len(set(drawn)) > 30 and {n for nodes in drawn for n in nodes} == set(range(11))
    assert ego(neighbours, 0, 2, 5, 3) == ego(neighbours, 0, 2, 5, 3)
    whole = ego(neighbours, 0, 2, 100)
    assert whole.within(1) == ego(neighbours, 0, 1, 100) and whole.within(0) == Ego([0], [0], [])


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_document_tells_every_hop_and_every_edge_once(seed: int) -> None:
    neighbours = network(seed, 16, 26)
    for centre in range(len(neighbours)):
        graph = ego(neighbours, centre, 2, 10, seed)
        written = hierarchical(graph, texts(graph), 3)
        hops, edges = slow.sections(written)
        assert hops == dict(enumerate(graph.hop)) and edges == set(graph.edges)
        assert sum(piece.startswith("@") for piece in written.split()) == len(graph.edges)
        for i, own in enumerate(texts(graph)):
            assert " ".join(["#" * (graph.hop[i] + 1) + str(i), *own[:3]]) in written


@pytest.mark.parametrize("budget", [2, 7, 12, 25, 60, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_the_edges_rebuilt_from_a_walk_are_all_among_the_nodes_it_read(seed: int, budget: int) -> None:
    neighbours = network(seed, 16, 26)
    for centre in range(len(neighbours)):
        graph = ego(neighbours, centre, 3, 100)
        written = walk(graph, texts(graph), 4, budget)
        assert len(written.split()) <= budget
        hops, read, edges = slow.reading(written)
        assert 0 in hops and all(hops[i] == graph.hop[i] for i in hops)
        assert edges == {(a, b) for a, b in graph.edges if a in hops and b in hops}
        for i, own in read.items():
            assert own == texts(graph)[i][: len(own)] and own
        if budget == 1000:
            assert set(hops) == set(range(len(graph.nodes)))  # all of the ego graph, each node with its words
            assert all(own == texts(graph)[i][:4] for i, own in read.items())


def test_a_walk_reads_depth_first_and_jumps_back() -> None:
    graph = Ego([9, 8, 7, 6], [0, 1, 1, 2], [(0, 1), (0, 2), (1, 2), (1, 3)])
    own = [["centre"], ["one"], ["two"], ["three"]]
    assert walk(graph, own, 8, 50) == "#0 centre ##1 one ##2 two @0 <1 ###3 three"
    assert hierarchical(graph, own, 8) == "#0 centre ##1 one @0 ##2 two @0 @1 ###3 three @1"
    assert walk(graph, own, 8, 7) == "#0 centre ##1 one ##2 two @0"  # a jump, a heading and a word no longer fit


def test_a_node_without_neighbours_is_a_document_of_its_own_text() -> None:
    graph = ego([set()], 0, 2, 5)
    assert hierarchical(graph, [["all", "alone"]], 5) == walk(graph, [["all", "alone"]], 5, 9) == "#0 all alone"


def test_words_that_look_like_marks_are_left_out() -> None:
    assert words("a #3 b ##12 @7 <0 # c3 @x 12 #1a") == ["a", "b", "#", "c3", "@x", "12", "#1a"]


FILES = {"t": "one two\nthree\nfour\nfive #0 six\n", "g": "0 1\n1 3\n", "c": "a\nb\na\nb"}


def reader(tmp_path: Path, files: dict[str, Any] = FILES, **changes: Any) -> dict[str, Any]:
    given = {"text": "t", "graph": "g", "classes": "c", "hops": 2} | changes
    return plan(put(tmp_path / "f", files), "text_graph", {"class": "class"}, **given)


def test_the_reader_gives_each_node_its_graph_and_documents(tmp_path: Path) -> None:
    corpus = ingest(tmp_path / "w", reader(tmp_path))
    rows = {r["id"]: r for r in corpus.table(["id", "graph", "document_1", "document_2", "walk_1", "walk_2"]).to_pylist()}
    assert rows["node-0"]["graph"] == {"nodes": ["one two", "three", "five #0 six"], "edges": [0, 1, 1, 2], "degree": [1, 2, 1]}
    assert rows["node-0"]["document_1"] == "#0 one two ##1 three @0"
    assert rows["node-0"]["document_2"] == "#0 one two ##1 three @0 ###2 five six @1"
    assert rows["node-0"]["walk_2"] == "#0 one two ##1 three ###2 five six"
    assert rows["node-2"]["graph"] == {"nodes": ["four"], "edges": [], "degree": [0]}
    assert {rows["node-2"][name] for name in ("document_1", "document_2", "walk_1", "walk_2")} == {"#0 four"}
    assert corpus.card.totals["nodes"] == 3 + 3 + 1 + 3
    plain = ingest(tmp_path / "v", reader(tmp_path, hops=None))
    assert {c.name for c in plain.card.columns} & {"graph", "document_1", "walk_1"} == set()


@pytest.mark.parametrize(
    ("files", "says"),
    [({"g": ""}, "the graph has no edge"), ({"g": "1 1\n"}, "the graph has no edge"), ({"t": "", "g": "", "c": ""}, "no node")],
)
def test_an_empty_graph_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        ingest(tmp_path / "w", reader(tmp_path, FILES | files))


@pytest.mark.parametrize("wrong", [{"hops": 0}, {"nodes": 0}, {"words": 0}, {"budget": 1}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UserError, match="1 or more, the budget 2 or more"):
        ingest(tmp_path / "w", reader(tmp_path, **wrong))
