"""Graphs whose nodes carry text: a file of texts, one of edges, one of classes, by line number."""

from __future__ import annotations

from collections.abc import Iterator

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.files import Files
from stages.ingest.core.item import Broken, Item, Source


@part
class TextGraph:
    """One item per node: line i of `text` is node i, `graph` has lines `<node> <node>`, line i of `classes` is its class.

    A blank class, or a file of classes that ends early, leaves the node without a label. `edges` has the neighbours' ids,
    sorted, in both directions and without loops. Ids are `node-<i>`, with zeros to one width.
    """

    def __init__(self, *, text: str, graph: str, classes: str | None = None, label: str = "class") -> None:
        self.text, self.graph, self.classes, self.label = text, graph, classes, label
        self.columns = [Column("text", "media", "text"), Column("edges", "media", "edges")]

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        texts = _lines(files, self.text)
        classes = _lines(files, self.classes) if self.classes else []
        if len(classes) > len(texts):
            raise UserError(f"{len(classes)} classes for {len(texts)} nodes", where=self.classes)
        neighbours = self._neighbours(files, len(texts))
        width = len(str(len(texts) - 1))
        for i, text in enumerate(texts):
            label = classes[i].strip() or None if i < len(classes) else None
            edges = [f"node-{j:0{width}d}" for j in sorted(neighbours[i])]
            yield Item(f"node-{i:0{width}d}", {"text": text.strip(), "edges": edges}, {self.label: label})

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
