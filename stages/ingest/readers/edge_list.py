"""A graph as two tables: one of nodes with their texts, one of edges between their ids."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.ingest.core.files import Files
from stages.ingest.core.item import Broken, Item, Source
from stages.ingest.core.paths import SPLIT_NAMES
from stages.ingest.core.rows import Row, kind_of, rows_of
from stages.ingest.core.surroundings import Surroundings


@part
class EdgeList:
    """One item per row of `nodes`: its text, and the ids of its neighbours, in both directions, sorted, without loops.

    nodes, edges: paths of CSV, TSV, JSON-lines or Parquet tables. id, text, split: columns of the nodes; every other column
    is offered as a label under its own name. ends: the two columns of the edges. An edge to a node that is not there is
    quarantined, as is a node whose id comes twice. hops: each node has its ego graph too, and that as documents: the columns
    and the arguments `around`, `seed`, `words` and `budget` are those of stages/ingest/core/surroundings.py (`around` its
    `nodes`). Raises UserError for a graph without edges, a table that is missing, and for numbers out of range.
    """

    def __init__(
        self,
        *,
        nodes: str,
        edges: str,
        id: str = "id",
        text: str = "text",
        split: str | None = None,
        ends: tuple[str, str] = ("source", "target"),
        delimiter: str | None = None,
        hops: int | None = None,
        around: int = 32,
        seed: int = 0,
        words: int = 16,
        budget: int = 128,
    ) -> None:
        self.nodes, self.edges, self.ends, self.delimiter = nodes, edges, ends, delimiter
        self.id, self.text, self.split = id, text, split
        self.around = None if hops is None else Surroundings(hops, around, seed, words, budget, "reader edge_list")
        self.columns = [Column("text", "media", "text"), Column("edges", "media", "edges")]
        self.columns += self.around.columns if self.around else []

    def read(self, source: Source) -> Iterator[Item | Broken]:
        files = source.files()
        needed = [self.id, self.text, *([self.split] if self.split else [])]
        rows: dict[str, Row] = {}
        for row in self._rows(files, self.nodes, needed):
            if isinstance(row, Broken):
                yield row
                continue
            name = str(row[self.id]).strip()
            if name in rows:
                yield Broken(name, "its id comes twice")
            rows.setdefault(name, row)
        neighbours: dict[str, set[str]] = {name: set() for name in rows}
        count = 0
        for number, row in enumerate(self._rows(files, self.edges, list(self.ends)), 1):
            if isinstance(row, Broken):
                yield row
                continue
            a, b = (str(row[end]).strip() for end in self.ends)
            lost = [name for name in (a, b) if name not in rows]
            if lost:
                yield Broken(f"{self.edges}:{number}", f"an edge to {lost[0]!r}, which is no node")
                continue
            count += 1
            if a != b:
                neighbours[a].add(b)
                neighbours[b].add(a)
        if not count:
            raise UserError("the graph has no edge", where=self.edges, do="correct `ends`, or read the nodes as a table")
        texts = [str(row[self.text] or "").strip() for row in rows.values()]
        place = {name: i for i, name in enumerate(rows)}
        joined = [{place[other] for other in neighbours[name]} for name in rows]
        around = self.around.of_each(texts, joined) if self.around else repeat({})
        for (name, row), text, more in zip(rows.items(), texts, around, strict=False):
            labels = {k: v for k, v in row.items() if k not in needed}
            split = str(row[self.split]).strip() if self.split else ""
            media = {"text": text, "edges": sorted(neighbours[name])} | more
            yield Item(name, media, labels, split=SPLIT_NAMES.get(split.lower(), split) or None)

    def _rows(self, files: Files, path: str, needed: list[str]) -> Iterator[Row | Broken]:
        for file in files.each(lambda p: p == path):
            kind = kind_of(path)
            if kind is None or kind == "npz":
                raise UserError("this is no table of rows", where=path, do="give a CSV, TSV, JSON-lines or Parquet file")
            yield from rows_of(file, kind, needed, None, self.delimiter)
            return
        raise UserError("the file is not among the source's files", where=path, do="correct the reader's path")
