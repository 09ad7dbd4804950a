"""Slow references of graphs and TAGA: dense convolutions, breadth-first neighbourhoods, a reader of documents, the loss."""

from __future__ import annotations

import math
import re

import numpy as np

Weights = dict[str, np.ndarray]


def adjacency(neighbours: list[set[int]]) -> np.ndarray:
    found = np.zeros((len(neighbours), len(neighbours)))
    for a, others in enumerate(neighbours):
        for b in others:
            found[a, b] = 1
    return found


def gcn(x: np.ndarray, edges: np.ndarray, weights: Weights, layers: int) -> list[np.ndarray]:
    """x (n, D), edges (n, n) of 0 and 1 -> for each order the n nodes, node by node and neighbour by neighbour."""
    degree = [1 + sum(row) for row in edges]
    h = [weights["project.weight"] @ row + weights["project.bias"] for row in x]
    found = [np.stack(h)]
    for k in range(layers):
        w, b = weights[f"convolutions.{k}.weight"], weights[f"convolutions.{k}.bias"]
        after = []
        for i in range(len(x)):
            total = np.zeros_like(h[0])
            for j in range(len(x)):
                if i == j or edges[i, j]:
                    total += np.maximum(h[j], 0) / math.sqrt(degree[i] * degree[j])
            after.append(w @ total + b)
        h = after
        found.append(np.stack(h))
    return found


def distances(neighbours: list[set[int]], centre: int) -> dict[int, int]:
    """Hops from the centre of every node that can be reached, by a queue."""
    found, queue = {centre: 0}, [centre]
    while queue:
        node = queue.pop(0)
        for other in sorted(neighbours[node]):
            if other not in found:
                found[other] = found[node] + 1
                queue.append(other)
    return found


def reading(document: str) -> tuple[dict[int, int], dict[int, list[str]], set[tuple[int, int]]]:
    """What a reader rebuilds of a walk: each node's hop and words, and the edges, told by order, jumps and references."""
    hops: dict[int, int] = {}
    words: dict[int, list[str]] = {}
    edges: set[tuple[int, int]] = set()
    current: int | None = None
    origin: int | None = None
    for piece in document.split(" "):
        if re.fullmatch(r"<\d+", piece):
            origin = int(piece[1:])
            assert origin in hops
        elif re.fullmatch(r"#+\d+", piece):
            marks = len(piece) - len(piece.lstrip("#"))
            before = current if origin is None else origin
            current, origin = int(piece[marks:]), None
            assert current not in hops
            hops[current], words[current] = marks - 1, []
            if before is not None:
                edges.add((min(before, current), max(before, current)))
        elif re.fullmatch(r"@\d+", piece):
            assert current is not None
            other = int(piece[1:])
            assert other in hops
            edges.add((min(other, current), max(other, current)))
        else:
            assert current is not None
            words[current].append(piece)
    return hops, words, edges


def sections(document: str) -> tuple[dict[int, int], set[tuple[int, int]]]:
    """What a whole document tells: each node's hop, and the edges that stand under its headings as references."""
    hops, edges = {}, set()
    for section in re.split(r"(?:^| )(?=#+\d)", document):
        if not section:
            continue
        head, *rest = section.split(" ")
        node = int(head.lstrip("#"))
        hops[node] = head.count("#") - 1
        edges |= {(int(p[1:]), node) for p in rest if re.fullmatch(r"@\d+", p)}
    return hops, edges


def loss(d: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """d, g (B, D) -> the positive and the negative term, pair by pair."""

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))

    count = len(d)
    positive = sum(cosine(d[v], g[v]) for v in range(count)) / count
    negative = sum(cosine(d[v], g[u]) for v in range(count) for u in range(count) if u != v) / count / (count - 1)
    return -positive, negative
