"""The DAG as the records tell it: which node read which, what is simulated, what is stale; and its picture's layout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stages.report.collect import STAGES, Node

COLUMNS = {"ingest": "corpora", "pretrain": "encoders", "extract": "features", "fit": "tasks", "evaluate": "systems"}
WIDTH, HEIGHT, GAP, BETWEEN, TOP = 150, 30, 10, 36, 34  # of a box, between boxes and columns, above the first; in pixels


@dataclass(frozen=True)
class Box:
    """A node in the picture; x and y are its top left corner."""

    node: Node
    x: float
    y: float


@dataclass(frozen=True)
class Edge:
    """`start` was read by `end`; path: as SVG. implied: there is a longer way too, so it is drawn only when traced."""

    start: str
    end: str
    path: str
    implied: bool


@dataclass(frozen=True)
class Picture:
    """width and height in pixels; columns: (title, x)."""

    width: float
    height: float
    columns: list[tuple[str, float]]
    boxes: list[Box]
    edges: list[Edge]


class Lineage:
    """Edges between nodes: one reads the folder that another made."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {n.id: n for n in nodes}
        makers = {o.get("path"): n.id for n in self.nodes.values() for o in n.record.get("outputs") or []}
        self.parents: dict[str, list[str]] = {}
        for n in self.nodes.values():
            read = [makers.get(i.get("path")) for i in n.record.get("inputs") or []]
            self.parents[n.id] = [p for p in dict.fromkeys(read) if p is not None and p != n.id]

        self._ancestors: dict[str, frozenset[str]] = {}

    def ancestors(self, id: str) -> frozenset[str]:
        """Every node that `id` was made from."""
        if id not in self._ancestors:
            parents = self.parents.get(id, [])
            self._ancestors[id] = frozenset(parents).union(*(self.ancestors(p) for p in parents))
        return self._ancestors[id]

    def simulated(self, id: str) -> bool:
        """Whether the node or anything it was made from is declared to be simulated."""
        return any(self.nodes[n].plan.get("provenance") == "simulated" for n in {id, *self.ancestors(id)} if n in self.nodes)

    def stale(self, id: str) -> list[str]:
        """Parents whose output is no longer what the node has read."""
        made = {o.get("path"): o.get("digest") for n in self.nodes.values() for o in n.record.get("outputs") or []}
        read = self.nodes[id].record.get("inputs") or []
        return [i.get("name", "") for i in read if made.get(i.get("path"), i.get("digest")) != i.get("digest")]

    def picture(self) -> Picture:
        """Columns by stage; a node made from one of its own stage (a student) moves one column to the right."""
        shown = {id: [p for p in parents if not self._implied(p, id)] for id, parents in self.parents.items()}
        columns = self._columns(shown)
        y = _heights(columns, shown)
        boxes = [Box(n, c * (WIDTH + BETWEEN), TOP + y[n.id]) for c, inside in enumerate(columns) for n in inside]
        titles = [(COLUMNS[inside[0].stage], float(c * (WIDTH + BETWEEN))) for c, inside in enumerate(columns)]
        titles = [t for i, t in enumerate(titles) if i == 0 or t[0] != titles[i - 1][0]]
        at = {b.node.id: b for b in boxes}
        edges = [Edge(p, id, _curve(at[p], at[id]), p not in shown[id]) for id in self.nodes for p in self.parents[id]]
        height = max((b.y + HEIGHT for b in boxes), default=0)
        return Picture(max(len(columns) * (WIDTH + BETWEEN) - BETWEEN, 0), height + GAP, titles, boxes, edges)

    def _columns(self, shown: dict[str, list[str]]) -> list[list[Node]]:
        """Nodes by column; within one in the order of what they were made from, so that few edges cross."""
        place = {n.id: (STAGES.index(n.stage), self._depth(n.id)) for n in self.nodes.values()}
        row: dict[str, float] = {}
        columns = []
        for at in sorted(set(place.values())):
            inside = [n for n in self.nodes.values() if place[n.id] == at]
            inside.sort(key=lambda n: (_mean([row[p] for p in shown[n.id]]), n.key))
            row |= {n.id: i / len(inside) for i, n in enumerate(inside)}
            columns.append(inside)
        return columns

    def _implied(self, start: str, end: str) -> bool:
        """Whether `end` was also made from `start` by way of another node."""
        return any(start in self.ancestors(p) for p in self.parents[end] if p != start)

    def _depth(self, id: str) -> int:
        stage = self.nodes[id].stage
        same = [p for p in self.parents[id] if self.nodes[p].stage == stage]
        return 1 + max(map(self._depth, same)) if same else 0


def _heights(columns: list[list[Node]], shown: dict[str, list[str]]) -> dict[str, float]:
    """y of every box: the longest column is filled from the top, others lie level with what they are joined to."""
    joined = {id: list(parents) for id, parents in shown.items()}
    for id, parents in shown.items():
        for p in parents:
            joined[p].append(id)
    longest = max(range(len(columns)), key=lambda c: len(columns[c]), default=0)
    y = {n.id: i * float(HEIGHT + GAP) for i, n in enumerate(columns[longest])} if columns else {}
    for c in [*range(longest - 1, -1, -1), *range(longest + 1, len(columns))]:
        wanted = {n.id: _mean([y[m] for m in joined[n.id] if m in y]) for n in columns[c]}
        free = 0.0
        for n in sorted(columns[c], key=lambda n: wanted[n.id]):
            y[n.id] = max(wanted[n.id], free)
            free = y[n.id] + HEIGHT + GAP
    return y


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _curve(start: Box, end: Box) -> str:
    """A cubic from the middle of a box's right side to the middle of another's left side."""
    x0, y0, x1, y1 = start.x + WIDTH, start.y + HEIGHT / 2, end.x, end.y + HEIGHT / 2
    bend = max(24.0, abs(x1 - x0) / 2)
    return f"M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"
