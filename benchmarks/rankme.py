"""RankMe of 25,000 x 512 embeddings beside one singular value decomposition by torch, in float64, as RankMe is, and float32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from stages.measures.rankme import rankme

ROWS, WIDTH, REPEATS, AIM = 25_000, 512, 5, 1.0


def main() -> None:
    torch.manual_seed(0)
    x = torch.randn(ROWS, WIDTH) * torch.logspace(0, -3, WIDTH)  # a spectrum that falls, as embeddings' do
    wide = x.double()
    ways: dict[str, Callable[[], object]] = {
        "rankme": lambda: rankme(x),
        "torch.linalg.svd, float64": lambda: torch.linalg.svd(wide, full_matrices=False),
        "torch.linalg.svd, float32": lambda: torch.linalg.svd(x, full_matrices=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    print(f"{ROWS} x {WIDTH}, medians of {REPEATS} interleaved rounds, {torch.get_num_threads()} threads")
    for name in list(ways)[1:]:
        ratios = [a / b for a, b in zip(seconds["rankme"], seconds[name], strict=True)]
        print(f"  rankme / {name:26} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), aim {AIM:g}")


if __name__ == "__main__":
    main()
