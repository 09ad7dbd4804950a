"""Graphs whose nodes carry text: a file of texts, one of edges, one of classes, by line number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.documents import hierarchical, walk, words
from stages.ingest.core.ego import ego
from stages.ingest.core.files import Files
from stages.ingest.core.item import Broken, Item, Source


@part
class TextGraph:
    """One item per node: line i of `text` is node i, `graph` has lines `<node> <node>`, line i of `classes` is its class.

    A blank class, or a file of classes that ends early, leaves the node without a label. `edges` has the neighbours' ids,
    sorted, in both directions and without loops. Ids are `node-<i>`, with zeros to one width.

    hops: each node has its ego graph too, `graph`: the nodes up to so many hops away with their texts and the edges among them,
    at most `nodes` of them, drawn by a hash of (seed, node); and for each k from 1 to `hops` that of k hops as a document,
    `document_<k>` whole, `walk_<k>` as a walk of at most `budget` words and marks, `words` of each node's text in either (see
    stages/ingest/core/documents.py). Nodes of any split stand in them: such a corpus is transductive. Raises UserError for a
    graph without nodes or edges, and for numbers out of range.
    """

    def __init__(
        self,
        *,
        text: str,
        graph: str,
        classes: str | None = None,
        label: str = "class",
        hops: int | None = None,
        nodes: int = 32,
        seed: int = 0,
        words: int = 16,
        budget: int = 128,
    ) -> None:
        if hops is not None and (hops < 1 or min(nodes, words) < 1 or budget < 2):
            raise UserError("hops, nodes and words must be 1 or more, the budget 2 or more", where="reader text_graph")
        self.text, self.graph, self.classes, self.label = text, graph, classes, label
        self.hops, self.nodes, self.seed, self.words, self.budget = hops, nodes, seed, words, budget
        self.columns = [Column("text", "media", "text"), Column("edges", "media", "edges")]
        if hops is not None:
            kinds = [f"{name}_{k}" for k in range(1, hops + 1) for name in ("document", "walk")]
            self.columns += [Column("graph", "media", "graph"), *(Column(name, "media", "text") for name in kinds)]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        texts = _lines(files, self.text)
        classes = _lines(files, self.classes) if self.classes else []
        if len(classes) > len(texts):
            raise UserError(f"{len(classes)} classes for {len(texts)} nodes", where=self.classes)
        neighbours = self._neighbours(files, len(texts))
        if self.hops is not None and not any(texts):
            raise UserError("the graph has no node", where=self.text, do="correct the reader's `text`")
        if self.hops is not None and not any(neighbours):
            raise UserError("the graph has no edge", where=self.graph, do="correct the reader's `graph`, or leave `hops` out")
        read = [words(text) for text in texts]
        width = len(str(len(texts) - 1))
        for i, text in enumerate(texts):
            label = classes[i].strip() or None if i < len(classes) else None
            edges = [f"node-{j:0{width}d}" for j in sorted(neighbours[i])]
            media = {"text": text.strip(), "edges": edges}
            if self.hops is not None:
                media |= self._around(i, self.hops, texts, read, neighbours)
            yield Item(f"node-{i:0{width}d}", media, {self.label: label})

    def _around(
        self, node: int, hops: int, texts: list[str], read: list[list[str]], neighbours: list[set[int]]
    ) -> dict[str, Any]:
        """The node's ego graph and its documents."""
        whole = ego(neighbours, node, hops, self.nodes, self.seed)
        found: dict[str, Any] = {
            "graph": ([texts[n].strip() for n in whole.nodes], whole.edges, [len(neighbours[n]) for n in whole.nodes])
        }
        own = [read[n] for n in whole.nodes]
        for k in range(1, hops + 1):
            near = whole.within(k)
            found[f"document_{k}"] = hierarchical(near, own, self.words)
            found[f"walk_{k}"] = walk(near, own, self.words, self.budget)
        return found

    def _neighbours(self, files: Files, count: int) -> list[set[int]]:
        neighbours: list[set[int]] = [set() for _ in range(count)]
        for number, line in enumerate(_lines(files, self.graph), 1):
            if not line.strip():
                continue
            ends = line.split()
            if len(ends) != 2 or not all(e.isdigit() and int(e) < count for e in ends):
                raise UserError(f"{line.strip()!r} is no edge between {count} nodes", where=f"{self.graph}, line {number}")
            a, b = map(int, ends)
            if a != b:
                neighbours[a].add(b)
                neighbours[b].add(a)
        return neighbours


def _lines(files: Files, path: str) -> list[str]:
    for file in files.each(lambda p: p == path):
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"the file is not UTF-8 at byte {error.start}", where=path) from None
        return text.removesuffix("\n").split("\n")
    raise UserError("the file is not among the source's files", where=path, do="correct the reader's path")
