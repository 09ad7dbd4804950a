"""Two ranks of one thread beside one process of one thread: SimCLR steps at the same global batch, over gloo on loopback."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least
from benchmarks.trainer import CASES, prepare

WHY = {  # by network; a transformer has no batch norm
    "resnet_18": "each batch norm waits for the other rank twice a step, 40 times: an eighth of it",
    "small_resnet": "half a batch takes 0.6 of a whole one's time, and half of a rank's step is 22 short messages of 1 to 2 ms",
}


def cases(options: Options) -> list[Case]:
    made = []
    for name, given in CASES.items():
        given = {**given, **({"batch": 16, "steps": 1} if options.quick else {})}
        ways = {
            key: Way(label, ranks, {**given, "count": count}, items=given["steps"])
            for key, label, count in (("two", "two ranks", 2), ("one", "one process", 1))
        }
        what, why = f"two ranks, {name}, batch {given['batch']}", WHY.get(given["network"], "")
        line = Line(what, "two", ("one",), "speed", at_least(1.7), why=why)
        made.append(Case(f"ranks of {given['network']}", ways, (line,), prepare, given))
    return made


def ranks(folder: Path, network: str, side: int, channels: int, batch: int, steps: int, count: int) -> Run:
    """`count` processes that live through the rounds; a run takes as long as the slowest of them."""
    import multiprocessing

    context, ends = multiprocessing.get_context("forkserver"), []
    for rank in range(count):
        mine, theirs = context.Pipe()
        arguments = (rank, count, str(folder), network, channels, batch, theirs)
        context.Process(target=serve, args=arguments, daemon=True).start()
        theirs.close()  # so that a rank that ended is an error, and no answer to wait for
        ends.append(mine)

    def run() -> dict[str, float]:
        for end in ends:
            end.send(steps)
        return {"seconds": max(end.recv() for end in ends)}

    return run


def serve(rank: int, count: int, folder: str, network: str, channels: int, batch: int, asked: Connection) -> None:
    """One rank, or the process that is alone: takes the steps it is asked for, and tells how many seconds they took."""
    from benchmarks.trainer import trained
    from stages.common import process
    from stages.pretrain.core import distributed
    from stages.pretrain.core.distributed import World

    process.die_with_owner()
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(count), "GLOO_SOCKET_IFNAME": "lo"}
    with ExitStack() as stack:
        world: Any = World()
        if count > 1:
            world = stack.enter_context(distributed.joined("cpu", f"file://{folder}/meeting"))
        trainer, _ = trained(Path(folder), network, channels, batch, world)
        while steps := asked.recv():
            distributed.barrier()
            begun = time.perf_counter()
            for _ in range(steps):
                trainer.step()
            trainer.settle()
            distributed.barrier()
            asked.send(time.perf_counter() - begun)
