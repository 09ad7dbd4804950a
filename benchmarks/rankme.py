"""RankMe of 25,000 x 512 embeddings beside one singular value decomposition by torch, in float64, as RankMe is, and float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least


def cases(options: Options) -> list[Case]:
    rows, width, threads = (500, 32, 1) if options.quick else (25_000, 512, 2)
    given = {"rows": rows, "width": width}
    ways = {
        "ours": Way("rankme", ours, given, threads=threads),
        "float64": Way("torch.linalg.svd, float64", theirs, {**given, "kind": "float64"}, ("torch",), threads=threads),
        "float32": Way("torch.linalg.svd, float32", theirs, {**given, "kind": "float32"}, ("torch",), threads=threads),
    }
    lines = tuple(Line(f"RankMe of {rows} x {width}", "ours", (peer,), aim=at_least(1)) for peer in ("float64", "float32"))
    return [Case("svd", ways, lines, same=("rankme",), tolerance=1e-2)]  # float32 rounds the small singular values


def embeddings(rows: int, width: int) -> Any:
    """A spectrum that falls, as embeddings' do."""
    import torch

    torch.manual_seed(0)
    return torch.randn(rows, width) * torch.logspace(0, -3, width)


def ours(folder: Path, rows: int, width: int) -> Run:
    from stages.measures.rankme import rankme

    x = embeddings(rows, width)
    return lambda: {"rankme": rankme(x)}


def theirs(folder: Path, rows: int, width: int, kind: str) -> Run:
    import torch

    x = embeddings(rows, width).to(getattr(torch, kind))

    def run() -> dict[str, float]:
        s = torch.linalg.svd(x, full_matrices=False).S
        p = s / s.sum() + 1e-7
        return {"rankme": float(torch.exp(-(p * p.log()).sum()))}

    return run
