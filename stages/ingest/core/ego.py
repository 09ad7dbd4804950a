"""Ego graphs: a node, those up to some hops away, and the edges among them."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from stages.ingest.core.splits import place


@dataclass(frozen=True)
class Ego:
    """nodes: their numbers in the whole graph, the centre first, then hop by hop. hop: of each. edges: pairs of places in
    `nodes`, the earlier one first, sorted.
    """

    nodes: list[int]
    hop: list[int]
    edges: list[tuple[int, int]]

    def within(self, hops: int) -> Ego:
        """The nodes of at most so many hops and the edges among them; places stay."""
        count = sum(h <= hops for h in self.hop)
        return Ego(self.nodes[:count], self.hop[:count], [(a, b) for a, b in self.edges if b < count])

    def adjacent(self) -> list[list[int]]:
        """Of each place the places that an edge joins it to, in order."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for a, b in self.edges:
            found[a].append(b)
            found[b].append(a)
        return [sorted(places) for places in found]


def ego(neighbours: Sequence[AbstractSet[int]], centre: int, hops: int, most: int, seed: int = 0) -> Ego:
    """The ego graph of a node, `most` nodes at most.

    Within a hop nodes come in an order drawn by a hash of (seed, centre, node); where they are too many its last ones go, so
    near nodes are kept before far ones.
    """
    nodes, hop, seen = [centre], [0], {centre}
    edge = [centre]
    for step in range(1, hops + 1):
        ahead = {n for node in edge for n in neighbours[node]} - seen
        edge = sorted(ahead, key=lambda n: (place(f"{seed}:{centre}", str(n)), n))[: most - len(nodes)]
        seen |= ahead
        nodes += edge
        hop += [step] * len(edge)
    at = {node: i for i, node in enumerate(nodes)}
    pairs = sorted((i, at[n]) for i, node in enumerate(nodes) for n in neighbours[node] if i < at.get(n, -1))
    return Ego(nodes, hop, pairs)
