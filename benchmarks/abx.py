"""ABX with dynamic time warping beside Python loops that compare each pair once: same items, same error.

plain loop: frame by frame, as the tests' reference has it; timed over some pairs and taken to all of them. tuned loop:
NumPy gives a pair's frame distances at once, plain lists warp them (faster than NumPy's scalars), and triples are counted from
the table of distances. One thread.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least, at_most

FRAMES, COLUMNS = 43, 64  # of an item, in the mean: spoken digits of 10 ms frames


def cases(options: Options) -> list[Case]:
    items, pairs = (20, 2) if options.quick else (200, 40)
    ways = {
        "ours": Way("head abx", ours, {"items": items, "precision": "float32"}),
        "exact": Way("head abx in float64", ours, {"items": items, "precision": "float64"}),
        "tuned": Way("tuned loop", tuned, {"items": items}),
        "plain": Way(f"plain loop (of {pairs} pairs)", plain, {"items": items, "pairs": pairs}),
    }
    what = f"ABX with warping, {items} items of {FRAMES} frames"
    lines = (
        Line(what, "ours", ("tuned",), aim=at_least(1)),
        Line(f"{what}, float64", "exact", ("tuned",)),
        Line(what, "ours", ("plain",), aim=at_least(50), peer_measure="all_s"),
    )
    many = 5 * items
    grown = {
        "few": Way(f"{items} items", ours, {"items": items, "precision": "float32"}),
        "many": Way(f"{many} items", ours, {"items": many, "precision": "float32"}),
    }
    memory = Line(f"peak memory of ABX with warping, {many} items", "many", ("few",), "cost", measure="peak_mb")
    made = [
        Case("warping", ways, lines, same=("error",), tolerance=1e-3),
        Case("memory", grown, (memory,), fresh=True),
    ]
    if options.long:
        most = {"ours": Way("head abx", ours, {"items": 20_000, "precision": "float32", "frames": 9})}
        line = Line(
            "memory of ABX, 20,000 phones of 9 frames", "ours", (), "cost", at_most(1), "peak_mb", limit=4096.0, unit="MiB"
        )
        made.append(Case("most", most, (line,), fresh=True, rounds=1))
    return made


def sequences(items: int, frames: int = FRAMES) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences (T, D) of ten values, a little apart, of half to one and a half times the mean length."""
    rng = np.random.default_rng(0)
    on = np.arange(items) % 10
    means = 0.3 * rng.normal(size=(10, COLUMNS))
    lengths = rng.integers(frames // 2, 3 * frames // 2 + 1, items)
    return [means[v] + rng.normal(size=(t, COLUMNS)) for v, t in zip(on, lengths, strict=True)], on


def ours(folder: Path, items: int, precision: str, frames: int = FRAMES) -> Run:
    """What the head does."""
    import torch

    from stages.common import process
    from stages.fit.core.abx.cells import Attributes
    from stages.fit.core.abx.distances import DISTANCES
    from stages.fit.core.abx.scores import collapsed, score
    from stages.fit.core.abx.warping import Sequences

    process.set_threads(1)
    x, on = sequences(items, frames)

    def run() -> dict[str, float]:
        distance = DISTANCES["angular"]
        frames = torch.from_numpy(np.concatenate(x)).to(getattr(torch, precision))
        made = Sequences.of(frames, torch.tensor([len(item) for item in x]), distance)
        return {"error": collapsed(score(made, Attributes.of(on.tolist(), [], []), distance).cells, "weighted")}

    return run


def tuned(folder: Path, items: int) -> Run:
    x, on = sequences(items)
    return lambda: {"error": float(loop(x, on))}


def plain(folder: Path, items: int, pairs: int) -> Run:
    """all_s: seconds for all pairs, from every so many of them in turn."""
    from tests.oracles import abx as reference

    x, _ = sequences(items)
    every = list(itertools.combinations(range(items), 2))
    chosen = every[:: max(1, len(every) // pairs)]

    def run() -> dict[str, float]:
        begun = time.perf_counter()
        for i, j in chosen:
            reference.compared({"frames": x[i]}, {"frames": x[j]}, "angular", False)
        return {"all_s": (time.perf_counter() - begun) * len(every) / len(chosen)}

    return run


def loop(x: list[np.ndarray], on: np.ndarray) -> float:
    """Each pair once, one after the other."""
    units = [item / np.linalg.norm(item, axis=1, keepdims=True) for item in x]
    table = np.full((len(x), len(x)), np.inf)
    for i in range(len(x)):
        for j in range(i + 1, len(x)):
            cost = np.arccos((units[i] @ units[j].T).clip(-1, 1)) / np.pi
            table[i, j] = table[j, i] = warp(cost.tolist())
    right = triples = 0.0
    for k in range(len(x)):
        own, other = table[k][(on == on[k]) & (np.arange(len(x)) != k)], table[k][on != on[k]]
        right += (own[:, None] < other).sum() + 0.5 * (own[:, None] == other).sum()
        triples += len(own) * len(other)
    return 1 - right / triples


def warp(cost: list[list[float]]) -> float:
    """Cost of the cheapest path over its length; the length is traced back."""
    height, width = len(cost), len(cost[0])
    total = [cost[0][:]]
    for j in range(1, width):
        total[0][j] += total[0][j - 1]
    for i in range(1, height):
        above, row = total[-1], cost[i][:]
        row[0] += above[0]
        for j in range(1, width):
            row[j] += min(above[j - 1], row[j - 1], above[j])
        total.append(row)
    i, j, steps = height - 1, width - 1, 1
    while i and j:
        diagonal, left, above_it = total[i - 1][j - 1], total[i][j - 1], total[i - 1][j]
        if diagonal <= left and diagonal <= above_it:
            i, j = i - 1, j - 1
        elif left <= above_it:
            j -= 1
        else:
            i -= 1
        steps += 1
    return total[-1][-1] / (steps + i + j)
