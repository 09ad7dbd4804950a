"""Text of graph: an ego graph written out as one document, whole by its hops or along a walk.

Marks are pieces between spaces, i and j being places in the ego graph: `#<i>`, `##<i>`, `###<i>` .. the heading of a node, one
mark for the centre and one more for each hop; `@<j>` under a heading: an edge to j; `<<j>` before a heading: a jump back to j.
Words of a text that look like a mark are left out of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.ingest.core.ego import Ego

MARK = re.compile(r"#+\d+|[@<]\d+")


def words(text: str) -> list[str]:
    """A text's words, those that look like a mark left out."""
    return [word for word in text.split() if not MARK.fullmatch(word)]


def hierarchical(graph: Ego, texts: Sequence[Sequence[str]], most: int) -> str:
    """Every node in its order, hop by hop: heading, the first `most` words of its text, its edges to earlier nodes.

    Zhang et al. 2024, "TAGA", text-of-graph view: headings by level and references between them. Each edge is written once.
    """
    adjacent = graph.adjacent()
    pieces: list[str] = []
    for i, hop in enumerate(graph.hop):
        pieces += [_heading(i, hop), *texts[i][:most], *(f"@{j}" for j in adjacent[i] if j < i)]
    return " ".join(pieces)


def walk(graph: Ego, texts: Sequence[Sequence[str]], most: int, budget: int) -> str:
    """A walk that reads depth first from the centre, of at most `budget` pieces: marks and words.

    It goes on to the first neighbour not read yet, and where there is none jumps back (`<<j>`) to the last node that has one.
    A node stands under its heading with up to `most` words and its edges to nodes read before; the edge by which it was come to
    is told by the order or by the jump. It ends where a heading, its edges and one word no longer fit, so that the document is
    always one of a subgraph, with all edges among the nodes read (Zhang et al. 2024, "TAGA", structure-preserving walk).
    """
    adjacent = graph.adjacent()
    pieces = [_heading(0, 0), *texts[0][: min(most, budget - 1)]]
    path, read, last = [0], {0}, 0
    while path:
        here = path[-1]
        ahead = next((j for j in adjacent[here] if j not in read), None)
        if ahead is None:
            path.pop()
            continue
        jump = [] if here == last else [f"<{here}"]
        edges = [f"@{j}" for j in adjacent[ahead] if j in read and j != here]
        room = budget - len(pieces) - len(jump) - 1 - len(edges)
        if room < 1:
            break
        pieces += [*jump, _heading(ahead, graph.hop[ahead]), *texts[ahead][: min(most, room)], *edges]
        path.append(ahead)
        read.add(ahead)
        last = ahead
    return " ".join(pieces)


def _heading(i: int, hop: int) -> str:
    return "#" * (hop + 1) + str(i)
