"""Edges from records: ancestors, what is simulated or stale, and a picture in which nothing overlaps."""

from __future__ import annotations

import itertools
from typing import Any

from stages.report.collect import Node
from stages.report.lineage import BETWEEN, GAP, HEIGHT, WIDTH, Lineage


def node(stage: str, key: str, reads: list[str], path: str, digest: str = "d", **plan: Any) -> Node:
    inputs = [{"name": p.rpartition("/")[2], "path": p, "digest": "d"} for p in reads]
    return Node(stage, key, {"plan": plan, "inputs": inputs, "outputs": [{"path": path, "digest": digest}]})


def chain(provenance: str = "real", corpus_digest: str = "d") -> list[Node]:
    return [
        node("ingest", "c", [], "data/corpora/c", corpus_digest, provenance=provenance),
        node("pretrain", "teacher", ["data/corpora/c"], "data/encoders/teacher"),
        node("pretrain", "student", ["data/corpora/c", "data/encoders/teacher"], "data/encoders/student"),
        node("extract", "f", ["data/encoders/student", "data/corpora/c"], "data/features/f"),
        node("fit", "t", ["data/features/f", "data/features/f", "data/corpora/c"], "data/tasks/s/t"),
        node("evaluate", "s", ["data/tasks/s/t"], "data/reports/s"),
    ]


def test_ancestors_follow_the_folders_that_were_read() -> None:
    lineage = Lineage(chain())
    assert lineage.ancestors("extract/f") == {"ingest/c", "pretrain/teacher", "pretrain/student"}
    assert lineage.parents["fit/t"] == ["extract/f", "ingest/c"]
    assert lineage.ancestors("ingest/c") == set()


def test_whatever_rests_on_a_simulated_corpus_is_simulated() -> None:
    assert all(Lineage(chain("simulated")).simulated(n.id) for n in chain())
    assert not any(Lineage(chain()).simulated(n.id) for n in chain())
    assert Lineage([]).simulated("fit/gone") is False


def test_a_node_that_read_another_version_is_stale() -> None:
    lineage = Lineage(chain(corpus_digest="new"))
    assert lineage.stale("pretrain/teacher") == ["c"] and lineage.stale("evaluate/s") == []


def test_records_without_inputs_or_outputs_are_tolerated() -> None:
    lineage = Lineage([Node("fit", "t", {}), Node("ingest", "c", {"inputs": None, "outputs": [{}]})])
    assert lineage.ancestors("fit/t") == set() and lineage.stale("ingest/c") == []
    assert len(lineage.picture().boxes) == 2 and Lineage([]).picture().boxes == []


def test_columns_go_by_stage_and_a_student_stands_right_of_its_teacher() -> None:
    picture = Lineage(chain()).picture()
    x = {b.node.id: b.x for b in picture.boxes}
    order = ["ingest/c", "pretrain/teacher", "pretrain/student", "extract/f", "fit/t", "evaluate/s"]
    assert [x[id] for id in order] == [i * (WIDTH + BETWEEN) for i in range(6)]
    assert [title for title, _ in picture.columns] == ["corpora", "encoders", "features", "tasks", "systems"]


def test_an_edge_with_a_longer_way_beside_it_is_implied() -> None:
    implied = {(e.start, e.end) for e in Lineage(chain()).picture().edges if e.implied}
    assert implied == {("ingest/c", "pretrain/student"), ("ingest/c", "extract/f"), ("ingest/c", "fit/t")}


def test_boxes_never_overlap_and_lie_inside_the_picture() -> None:
    nodes = [node("ingest", f"c{i}", [], f"c{i}") for i in range(2)]
    nodes += [node("pretrain", f"e{i}", [f"c{i % 2}"], f"e{i}") for i in range(7)]
    nodes += [node("fit", f"t{i}", [f"e{i % 5}", f"e{i % 3}"], f"t{i}") for i in range(11)]
    nodes += [node("evaluate", f"s{i}", [f"t{j}" for j in range(i, 11, 3)], f"s{i}") for i in range(3)]
    picture = Lineage(nodes).picture()
    for a, b in itertools.combinations(picture.boxes, 2):
        assert a.x != b.x or abs(a.y - b.y) >= HEIGHT + GAP - 1e-9
    assert all(b.y >= 0 and b.y + HEIGHT <= picture.height and b.x + WIDTH <= picture.width for b in picture.boxes)
