"""Exact k nearest neighbours and their votes, beside faiss' flat index: the same bank, queries, neighbours and votes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least

CLASSES, K, TEMPERATURE = 10, 20, 0.07


def cases(options: Options) -> list[Case]:
    bank, queries, columns, threads = (300, 50, 16, 1) if options.quick else (50_000, 10_000, 512, 2)
    given = {"bank": bank, "queries": queries, "columns": columns}
    ways = {
        "ours": Way("knn_scores", ours, {**given, "threads": threads}, threads=threads),
        "faiss": Way("IndexFlatIP", theirs, given, ("faiss-cpu",), threads=threads),
    }
    what = f"exact kNN of {queries:,} queries in {bank:,} x {columns}, {threads} threads"
    line = Line(
        what,
        "ours",
        ("faiss",),
        aim=at_least(1),
        why="six sevenths is one matrix product, the rest the choice of the k largest (notes.md)",
    )
    return [Case("flat", ways, (line,), same=("certainty", "share"), tolerance=1e-3)]


def data(bank: int, queries: int, columns: int) -> tuple[Any, Any, Any]:
    """Rows about ten means, the bank's labels, and queries of the same kind."""
    import torch

    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (bank + queries,), generator=draw)
    means = 0.3 * torch.randn(CLASSES, columns, generator=draw)
    x = torch.randn(bank + queries, columns, generator=draw) + means[labels]
    return x[:bank], labels[:bank], x[bank:]


def told(scores: Any) -> dict[str, float]:
    """certainty: the mean of the best score; share: how often class 0 wins."""
    best, found = scores.max(1)
    return {"certainty": float(best.mean()), "share": 1 + float((found == 0).double().mean())}


def ours(folder: Path, bank: int, queries: int, columns: int, threads: int) -> Run:
    from stages.common import process
    from stages.measures.core.neighbours import knn_scores

    process.set_threads(threads)
    x, labels, asked = data(bank, queries, columns)
    return lambda: told(knn_scores(x, labels, asked, k=K, classes=CLASSES, temperature=TEMPERATURE))


def theirs(folder: Path, bank: int, queries: int, columns: int) -> Run:
    import faiss
    import torch
    from torch.nn.functional import normalize

    x, labels, asked = data(bank, queries, columns)

    def run() -> dict[str, float]:
        index = faiss.IndexFlatIP(columns)
        index.add(normalize(x, dim=1).numpy())
        found, at = index.search(normalize(asked, dim=1).numpy(), min(K, bank))
        similarity = torch.from_numpy(found)
        weight = ((similarity - similarity[:, :1]) / TEMPERATURE).exp()
        scores = torch.zeros(len(asked), CLASSES).scatter_add_(1, labels[torch.from_numpy(at)], weight)
        return told(scores / scores.sum(1, keepdim=True))

    return run
