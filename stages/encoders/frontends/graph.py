"""Graphs whose nodes carry text: symbols of each node, and the edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.common.symbols import vocabulary
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Graph, Input


@part
class Graphs(Frontend):
    """int32 (B, nodes, length + 2 + nodes) as stages/common/graphs.py packs it -> `Graph`.

    A node's text becomes symbols under the tokenizer that lies with the corpus (or with the parent encoder); the encoder keeps
    a copy. nodes: the most of an item; a larger one keeps its first. length: symbols of a node, [CLS] and [SEP] among them.

    Raises ContractError for a column of another kind, UserError where there is no tokenizer or a number is too small.
    """

    def __init__(self, column: Column, assets: Path, *, nodes: int = 32, length: int = 64) -> None:
        if nodes < 1 or length < 3:
            raise UserError(
                "a graph has a node, and a node [CLS], a symbol and [SEP] at least",
                where="front end graph",
                do="write `nodes` of 1 or more and `length` of 3 or more",
            )
        if column.kind != "graph":
            raise ContractError(
                f"column {column.name!r} holds {column.kind}, the front end `graph` takes graphs",
                do="name a column of graphs as `media:`, or the front end of its kind",
            )
        path = assets / TOKENIZER
        self.nodes, self.length, self.shape = nodes, length, (nodes, length)
        self.keeps, self.vocabulary = {TOKENIZER: path}, vocabulary(path)
        self.contract: dict[str, Any] = {"kind": "graph", "nodes": nodes, "length": length, "tokenizer": str(path)}

    @property
    def channels(self) -> int:
        return 0

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        assert lengths is not None
        at = self.length
        degree, adjacency = data[..., at + 1].float(), data[..., at + 2 :].float()
        return Graph(data[..., :at].long(), data[..., at].long(), lengths, adjacency, degree)
