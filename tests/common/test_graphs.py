"""Graphs as a column, packed by the decoder and unpacked by the front end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from stages.common import media
from stages.common.column import Column
from stages.common.corpus import TOKENIZER, Corpus
from stages.common.errors import ContractError, UserError
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.encoders.core.inputs import Graph, join, tensor
from stages.ingest.core.tokenizer import trained
from stages.pretrain.core import data
from tests.builders import write_corpus

COLUMN = Column("around", "media", "graph")
STORED: list[dict[str, Any]] = [
    {"nodes": ["red green", "blue"], "edges": [0, 1], "degree": [1, 4]},
    {"nodes": ["alone"], "edges": [], "degree": [0]},
    {"nodes": ["green", "", "red red red red", "blue"], "edges": [0, 1, 0, 3, 1, 2, 2, 3], "degree": [2, 2, 2, 9]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plan = TokenizerPlan("words", 60)
    (tmp_path / TOKENIZER).write_text(trained(lambda: iter(["red green blue alone"]), plan).to_str())
    return tmp_path


def array(stored: list[dict[str, Any]] = STORED) -> pa.Array:
    return pa.array(stored, COLUMN.type)


def front(folder: Path, column: Column = COLUMN, **arguments: Any) -> Any:
    from stages.common import registry

    return registry.make("frontend", Part("graph", {"nodes": 4, "length": 6} | arguments), column, folder)


def unpacked(folder: Path, stored: pa.Array, **arguments: Any) -> Graph:
    made = front(folder, **arguments)
    found = media.decode(stored, COLUMN, made.contract)
    assert found.data.dtype == np.int32 and found.lengths is not None
    graph = made(torch.from_numpy(found.data), torch.from_numpy(found.lengths))
    assert isinstance(graph, Graph)
    return graph


@pytest.mark.parametrize("most", [4, 7, 3, 1])
def test_a_graph_comes_back_as_it_was_stored_up_to_its_most_nodes(folder: Path, most: int) -> None:
    x = unpacked(folder, array(), nodes=most)
    for i, graph in enumerate(STORED):
        count = min(most, len(graph["nodes"]))
        assert x.count[i] == count and x.own()[i].tolist() == [j < count for j in range(most)]
        rows = media.tokenised(pa.array(graph["nodes"]), str(folder / TOKENIZER), 6)
        assert rows.lengths is not None
        np.testing.assert_array_equal(x.nodes[i, :count].numpy(), rows.data[:count])
        assert x.lengths[i, :count].tolist() == rows.lengths[:count].tolist()
        assert x.degree[i].tolist() == graph["degree"][:count] + [0] * (most - count)
        expected = np.zeros((most, most))
        for a, b in zip(graph["edges"][::2], graph["edges"][1::2], strict=True):
            if max(a, b) < most:
                expected[a, b] = expected[b, a] = 1
        np.testing.assert_array_equal(x.adjacency[i].numpy(), expected)
        assert not x.nodes[i, count:].any() and not x.lengths[i, count:].any()


def test_a_slice_and_chunks_decode_as_their_items_do(folder: Path) -> None:
    whole = unpacked(folder, array())
    part = unpacked(folder, array().slice(1, 2))
    chunked = unpacked(folder, pa.chunked_array([array()[:1], array()[1:]]))  # type: ignore[arg-type]
    for name in ("nodes", "lengths", "count", "adjacency", "degree"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[1:])
        assert torch.equal(getattr(chunked, name), getattr(whole, name))


def test_graphs_are_joined_and_their_nodes_are_their_values(folder: Path) -> None:
    x = unpacked(folder, array())
    both = join([x, x])
    assert isinstance(both, Graph) and len(both) == 6
    assert torch.equal(both.adjacency[3:], x.adjacency) and torch.equal(tensor(x), x.nodes)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"nodes": [], "edges": [], "degree": []}, "has no node"),
        ({"nodes": ["a"], "edges": [0, 1], "degree": [1]}, "an edge to a node that it has not"),
        ({"nodes": ["a", "b"], "edges": [0, -1], "degree": [1, 1]}, "an edge to a node that it has not"),
        ({"nodes": ["a", "b"], "edges": [0], "degree": [1, 1]}, "do not fit its nodes"),
        ({"nodes": ["a", "b"], "edges": [0, 1], "degree": [1]}, "do not fit its nodes"),
    ],
)
def test_a_graph_that_is_none_is_refused(folder: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ContractError, match=says):
        unpacked(folder, array([*STORED, changed]))


def test_a_front_end_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="holds text, the front end `graph` takes graphs"):
        front(folder, Column("said", "media", "text"))
    with pytest.raises(UserError, match="the corpus has no tokenizer"):
        front(tmp_path / "nowhere")
    for wrong in ({"nodes": 0}, {"length": 2}):
        with pytest.raises(UserError, match="of 3 or more"):
            front(folder, **wrong)
    with pytest.raises(ContractError, match="holds graph, the encoder takes tokens"):
        media.decode(array(), COLUMN, {"kind": "tokens", "length": 4, "tokenizer": str(folder / TOKENIZER)})


def test_a_corpus_keeps_graphs_and_hands_texts_beside_them_uncut(folder: Path) -> None:
    texts = ["red", "green blue red", "alone " * 400]
    rows: list[dict[str, object]] = [
        {"id": str(i), "split": "train", "group": str(i), "around": graph, "said": text}
        for i, (graph, text) in enumerate(zip(STORED, texts, strict=True))
    ]
    corpus = Corpus(write_corpus(folder / "c", [COLUMN, Column("said", "media", "text")], rows))
    assert corpus.table(["around"])["around"].to_pylist() == STORED
    found = data.side(corpus, "said", ["train"], str(folder / TOKENIZER))
    assert found.dtype == np.int32 and found.shape == (3, 402) and (found > 0).sum(1).tolist() == [3, 5, 402]
    expected = media.tokenised(pa.array(texts), str(folder / TOKENIZER), 402).data
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match="a text where the front end has a tokenizer"):
        data.side(corpus, "said", ["train"])
    with pytest.raises(UserError, match="kind graph cannot be handed"):
        data.side(corpus, "around", ["train"], str(folder / TOKENIZER))


def test_the_columns_feature_is_one_that_datasets_takes() -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.Features.from_dict({"around": COLUMN.feature})
    assert found.arrow_schema.field("around").type.num_fields == 3
