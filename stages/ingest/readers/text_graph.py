"""Graphs whose nodes carry text: a file of texts, one of edges, one of classes, by line number."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.files import Files
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.surroundings import Surroundings


@part
class TextGraph:
    """One item per node: line i of `text` is node i, `graph` has lines `<node> <node>`, line i of `classes` is its class.

    A blank class, or a file of classes that ends early, leaves the node without a label. `edges` has the neighbours' ids,
    sorted, in both directions and without loops. Ids are `node-<i>`, with zeros to one width.

    hops: each node has its ego graph too, and that as documents: the columns and the further arguments are those of
    stages/ingest/core/surroundings.py. Raises UserError for a graph without nodes or edges, and for numbers out of range.
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
        self.text, self.graph, self.classes, self.label = text, graph, classes, label
        self.around = None if hops is None else Surroundings(hops, nodes, seed, words, budget, "reader text_graph")
        self.columns = [Column("text", "media", "text"), Column("edges", "media", "edges")]
        self.columns += self.around.columns if self.around else []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        texts = _lines(files, self.text)
        classes = _lines(files, self.classes) if self.classes else []
        if len(classes) > len(texts):
            raise UserError(f"{len(classes)} classes for {len(texts)} nodes", where=self.classes)
        neighbours = self._neighbours(files, len(texts))
        if self.around and not any(texts):
            raise UserError("the graph has no node", where=self.text, do="correct the reader's `text`")
        if self.around and not any(neighbours):
            raise UserError("the graph has no edge", where=self.graph, do="correct the reader's `graph`, or leave `hops` out")
        around = self.around.of_each(texts, neighbours) if self.around else repeat({})
        width = len(str(len(texts) - 1))
        for i, (text, more) in enumerate(zip(texts, around, strict=False)):
            label = classes[i].strip() or None if i < len(classes) else None
            edges = [f"node-{j:0{width}d}" for j in sorted(neighbours[i])]
            media = {"text": text.strip(), "edges": edges} | more
            yield Item(f"node-{i:0{width}d}", media, {self.label: label})

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
