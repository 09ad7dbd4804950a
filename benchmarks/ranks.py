"""Two ranks of one thread beside one process of one thread: SimCLR steps at the same global batch, over gloo on loopback.

    python -m benchmarks.ranks [--rounds 5] [--count 2]

All processes live through the run and take turns; a round's ratio is the time of one process to that of the ranks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.trainer import CASES, trainer_of
from stages.common import process
from stages.pretrain.core import distributed
from stages.pretrain.core.distributed import World

AIM = 1.7  # of two ranks


def serve(rank: int, count: int, folder: str, case: dict[str, Any], asked: Connection) -> None:
    """One rank, or the process that is alone: takes the steps it is asked for, and tells how many seconds they took."""
    process.die_with_owner()
    process.set_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo"}
    with ExitStack() as stack:
        world = World()
        if count > 1:
            world = stack.enter_context(distributed.joined("cpu", f"file://{folder}/meeting"))
        trainer, _ = trainer_of(case["size"], case["channels"], case["items"], Path(folder), world)
        while steps := asked.recv():
            distributed.barrier()
            begun = time.perf_counter()
            for _ in range(steps):
                trainer.step()
            trainer.settle()
            distributed.barrier()
            asked.send(time.perf_counter() - begun)


def start(count: int, folder: Path, case: dict[str, Any]) -> list[Connection]:
    """The ends by which `count` processes are asked."""
    context, found = multiprocessing.get_context("forkserver"), []
    folder.mkdir()
    for rank in range(count):
        mine, theirs = context.Pipe()
        context.Process(target=serve, args=(rank, count, str(folder), case, theirs), daemon=True).start()
        found.append(mine)
    return found


def seconds(ranks: list[Connection], steps: int) -> float:
    """What `steps` steps took the slowest of them."""
    for rank in ranks:
        rank.send(steps)
    return max(rank.recv() for rank in ranks)


def ratios(case: dict[str, Any], count: int, rounds: int, folder: Path) -> list[float]:
    """How many times as fast `count` ranks were as one process, by round; a first one warms up."""
    alone, ranks = start(1, folder / "one", case), start(count, folder / "many", case)
    steps = 2 * case["steps"]
    found = [seconds(alone, steps) / seconds(ranks, steps) for _ in range(rounds + 1)]
    for end in alone + ranks:
        end.send(0)
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2)
    args = parser.parse_args()
    process.warm_up()
    print(f"{f'{args.count} ranks against one process':44} {'times':>6} {'min-max':>12} {'aim':>5}")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = ratios(case, args.count, args.rounds, Path(folder))
        spread = f"{min(found):.2f}-{max(found):.2f}"
        print(f"{name:44} {statistics.median(found):6.2f} {spread:>12} {AIM if args.count == 2 else float('nan'):5.1f}")


if __name__ == "__main__":
    main()
