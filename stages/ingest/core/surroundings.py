"""What stands around each node of a graph of texts: its ego graph, and that graph as documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.ingest.core.documents import hierarchical, walk, words
from stages.ingest.core.ego import ego


@dataclass(frozen=True)
class Surroundings:
    """Media columns of a node. `graph`: the nodes up to `hops` hops away with their texts and the edges among them.

    At most `nodes` nodes, drawn by a hash of (seed, node). For each k from 1 to `hops` the graph of k hops as a document,
    `document_<k>` whole, `walk_<k>` as a walk of at most `budget` words and marks, `words` of each node's text in either (see
    documents.py). Nodes of any split stand in them: such a corpus is transductive. Raises UserError for numbers out of range,
    naming `where`.
    """

    hops: int
    nodes: int
    seed: int
    words: int
    budget: int
    where: str

    def __post_init__(self) -> None:
        if min(self.hops, self.nodes, self.words) < 1 or self.budget < 2:
            raise UserError("hops, nodes and words must be 1 or more, the budget 2 or more", where=self.where)

    @property
    def columns(self) -> list[Column]:
        kinds = [f"{name}_{k}" for k in range(1, self.hops + 1) for name in ("document", "walk")]
        return [Column("graph", "media", "graph"), *(Column(name, "media", "text") for name in kinds)]

    def of_each(self, texts: Sequence[str], neighbours: Sequence[set[int]]) -> Iterator[dict[str, Any]]:
        """The columns' values, node by node: texts of the nodes, and the places of each one's neighbours among them."""
        read = [words(text) for text in texts]
        return (self._of(node, texts, read, neighbours) for node in range(len(texts)))

    def _of(self, node: int, texts: Sequence[str], read: Sequence[list[str]], neighbours: Sequence[set[int]]) -> dict[str, Any]:
        whole = ego(neighbours, node, self.hops, self.nodes, self.seed)
        found: dict[str, Any] = {
            "graph": ([texts[n].strip() for n in whole.nodes], whole.edges, [len(neighbours[n]) for n in whole.nodes])
        }
        own = [read[n] for n in whole.nodes]
        for k in range(1, self.hops + 1):
            near = whole.within(k)
            found[f"document_{k}"] = hierarchical(near, own, self.words)
            found[f"walk_{k}"] = walk(near, own, self.words, self.budget)
        return found
