"""ABX with dynamic time warping beside Python loops that compare each pair once: same items, same error, in turns.

    python benchmarks/abx.py [--items 200] [--frames 43] [--columns 64] [--rounds 3] [--threads 1]
                             [--precision float32] [--alone]

plain loop: frame by frame, as the tests' reference has it; timed over `--sample` pairs and taken to all of them. tuned loop:
NumPy gives a pair's frame distances at once, plain lists warp them (faster than NumPy's scalars), and triples are counted from
the table of distances. Prints the seconds of each, the ratios, and the errors that the batched and the tuned one find.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--items", type=int, default=200)
parser.add_argument("--frames", type=int, default=43, help="of an item, on average: spoken digits of 10 ms frames")
parser.add_argument("--columns", type=int, default=64)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--sample", type=int, default=40)
parser.add_argument("--precision", default="float32", choices=["float32", "float64"])
parser.add_argument("--alone", action="store_true")
args = parser.parse_args()
os.environ.update({name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")})

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import torch  # noqa: E402

from stages.fit.core.abx.cells import Attributes  # noqa: E402
from stages.fit.core.abx.distances import DISTANCES  # noqa: E402
from stages.fit.core.abx.scores import collapsed, score  # noqa: E402
from stages.fit.core.abx.warping import Sequences  # noqa: E402
from tests.oracles import abx as reference  # noqa: E402

torch.set_num_threads(args.threads)


def items() -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences (T, D) of ten values, a little apart, of half to one and a half times the mean length."""
    rng = np.random.default_rng(0)
    on = np.arange(args.items) % 10
    means = 0.3 * rng.normal(size=(10, args.columns))
    lengths = rng.integers(args.frames // 2, 3 * args.frames // 2 + 1, args.items)
    return [means[v] + rng.normal(size=(t, args.columns)) for v, t in zip(on, lengths, strict=True)], on


def batched(x: list[np.ndarray], on: np.ndarray) -> float:
    """What the head does."""
    distance = DISTANCES["angular"]
    frames = torch.from_numpy(np.concatenate(x)).to(getattr(torch, args.precision))
    sequences = Sequences.of(frames, torch.tensor([len(item) for item in x]), distance)
    return collapsed(score(sequences, Attributes.of(on.tolist(), [], []), distance).cells, "weighted")


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


def plain(x: list[np.ndarray], pairs: int) -> float:
    """Seconds for all pairs, from every so many of them in turn."""
    every = list(itertools.combinations(range(len(x)), 2))
    chosen = every[:: max(1, len(every) // pairs)]
    begun = time.perf_counter()
    for i, j in chosen:
        reference.compared({"frames": x[i]}, {"frames": x[j]}, "angular", False)
    return (time.perf_counter() - begun) * len(every) / len(chosen)


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


def timed(task: object, *given: object) -> tuple[float, float]:
    begun = time.perf_counter()
    found = task(*given)  # type: ignore[operator]
    return time.perf_counter() - begun, found


def main() -> None:
    x, on = items()
    batched(x[:20], on[:20])  # the libraries are loaded
    if args.alone:
        seconds, error = timed(batched, x, on)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{args.items} items, {args.items * (args.items - 1) // 2} pairs, {args.threads} thread(s), {args.precision}")
        print(f"batched {seconds:.0f} s; error {error:.6f}; {peak:.2f} GiB at most, libraries and items included")
        return
    ours, tuned = zip(*[(timed(batched, x, on), timed(loop, x, on)) for _ in range(args.rounds)], strict=True)
    fast, slow = (statistics.median(seconds for seconds, _ in rounds) for rounds in (ours, tuned))
    slowest = plain(x, args.sample)
    print(f"{args.items} items, {args.items * (args.items - 1) // 2} pairs, {args.threads} thread(s), {args.precision}")
    print(f"batched {fast:.2f} s; plain loop {slowest:.0f} s (of {args.sample} pairs): {slowest / fast:.0f} times as long")
    print(f"tuned loop {slow:.2f} s: {slow / fast:.0f} times as long; errors {ours[0][1]:.6f} and {tuned[0][1]:.6f}")


if __name__ == "__main__":
    main()
