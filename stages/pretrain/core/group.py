"""Pretraining on a Ray cluster: an actor per rank, its peers found as under torchrun. A group that loses one starts again.

The stage itself holds the lock, decodes and records; ranks train and write snapshots and encoders into the shared folders.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stages.common import cluster, process
from stages.common.compute import RanksPlan, RayPlan
from stages.common.errors import PassingError, UserError
from stages.pretrain.core import distributed
from stages.pretrain.core.seed import train
from stages.pretrain.core.task import Outcome, Task

_BEAT_S = 1.0  # between looks at the ranks
_FOLLOW_S = 60.0  # in which the loss of a machine is noticed, after a peer has met a broken connection


class Rank:
    """One process of a group: `place` is where rank 0 is found, `share` trains this rank's share of every seed."""

    def __init__(self, task: Task, rank: int, ranks: int) -> None:
        self.task, self.rank, self.ranks = task, rank, ranks
        process.set_threads(task.node.threads)

    def place(self) -> tuple[str, int]:
        """This machine's address and a port that is free."""
        import ray

        host = str(ray.util.get_node_ip_address())
        with socket.socket() as found:
            found.bind((host, 0))
            return host, int(found.getsockname()[1])

    def share(self, seeds: Sequence[int], host: str, port: int) -> list[Outcome] | UserError:
        """Outcomes of the seeds, which every rank has; a user's mistake as a value, since Ray would wrap it."""
        found: list[Outcome] = []
        mistakes: list[UserError] = []

        def work() -> None:
            try:
                found.extend(train(seed, self.task) for seed in seeds)
                distributed.barrier()
            except UserError as error:
                mistakes.append(error)

        def lead() -> int:
            work()
            return 0

        if self.ranks == 1:
            work()  # without a process group: the arithmetic of one process
        else:
            os.environ |= {"RANK": str(self.rank), "WORLD_SIZE": str(self.ranks), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
            os.environ["LOCAL_RANK"] = "0"  # Ray shows an actor no card but its own
            distributed.main(lead, work)
        return mistakes[0] if mistakes else found


def train_all(plan: RayPlan, ranks: RanksPlan, task: Task) -> list[Outcome]:
    """`train` of every seed on the plan's cluster: each in its own process, or one after another by ranks that share batches.

    Raises UserError as `train` does, and where the cluster has no room; PassingError where ranks died too often.
    """
    seeds = task.node.seeds
    parts = [[seed] for seed in seeds] if ranks.count == 1 else [list(seeds)]
    with cluster.joined(plan) as ray:
        cpus, gpus = plan.cpus or float(task.node.threads), int(task.device == "cuda")
        room = cluster.fits(ray, cpus, gpus)
        if room < ranks.count:
            what = f"the cluster has room for {room} of {ranks.count} ranks"
            raise UserError(what, where="compute.ranks.count", do="choose fewer, or start more machines")
        remote = ray.remote(Rank).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, scheduling_strategy="SPREAD")
        stop = threading.Event()
        most = min(plan.workers or len(parts), max(1, room // ranks.count), len(parts))
        with ThreadPoolExecutor(most, thread_name_prefix="group") as pool:
            groups = [pool.submit(Group(ray, remote, plan, ranks, task, part, stop).run) for part in parts]
            try:
                return [outcome for group in groups for outcome in group.result()]
            except BaseException:
                stop.set()
                for group in groups:
                    group.cancel()
                raise


class Group:
    """The ranks that train some seeds together."""

    def __init__(
        self,
        ray: Any,
        remote: Any,
        plan: RayPlan,
        ranks: RanksPlan,
        task: Task,
        seeds: Sequence[int],
        stop: threading.Event,
    ) -> None:
        self.ray, self.remote, self.plan, self.ranks, self.task = ray, remote, plan, ranks, task
        self.seeds, self.stop = list(seeds), stop

    def run(self) -> list[Outcome]:
        """Starts the ranks, again from the last snapshot where one of them is lost; the outcomes of rank 0."""
        last = ""
        for _ in range(self.ranks.restarts + 1):
            for seed in self.seeds:  # exported by a group that was lost afterwards: from its last snapshot it is again
                shutil.rmtree(Path(self.task.out) / f"seed={seed}", ignore_errors=True)
            ranks = [self.remote.remote(self.task, rank, self.ranks.count) for rank in range(self.ranks.count)]
            try:
                return self._together(ranks)
            except self.ray.exceptions.RayActorError as error:
                last = str(error).splitlines()[0]
            finally:
                for rank in ranks:
                    self.ray.kill(rank)
        what = f"ranks of the seeds {self.seeds} were lost {self.ranks.restarts + 1} times: {last}"
        raise PassingError(what, where="compute.ray", do="see whether memory ran out, or a machine fails")

    def _together(self, ranks: list[Any]) -> list[Outcome]:
        host, port = self._all([rank.place.remote() for rank in ranks], self.plan.patience_s)[0]
        found = self._all([rank.share.remote(self.seeds, host, port) for rank in ranks])
        outcomes: list[Outcome] = found[0]
        return outcomes

    def _all(self, calls: list[Any], patience_s: float | None = None) -> list[Any]:
        """The answers of all calls. Raises the first mistake, the loss of a rank, or PassingError after the patience."""
        waiting, until = list(calls), time.monotonic() + (patience_s or float("inf"))
        while waiting and not self.stop.is_set():
            ended, waiting = self.ray.wait(waiting, num_returns=1, timeout=_BEAT_S)
            for call in ended:
                self._answer(call, waiting)
            if waiting and time.monotonic() > until:
                what = f"no room for {len(waiting)} ranks of the seeds {self.seeds} in {patience_s:g} s"
                raise PassingError(what, where="compute.ray.patience_s", do="start more machines, or choose fewer ranks")
        if self.stop.is_set():
            raise PassingError("another seed failed", where="compute.ray")
        return [self._answer(call, []) for call in calls]

    def _answer(self, call: Any, others: list[Any]) -> Any:
        """A call's answer. Where it fails by itself, a peer whose loss may be the reason is looked for first."""
        try:
            answer = self.ray.get(call)
        except self.ray.exceptions.RayTaskError as error:
            for other in self.ray.wait(others, num_returns=len(others), timeout=_FOLLOW_S)[0] if others else []:
                try:
                    self.ray.get(other)
                except self.ray.exceptions.RayActorError:
                    raise
                except self.ray.exceptions.RayError:
                    continue
            raise error.cause if isinstance(error.cause, Exception) else error from None
        if isinstance(answer, UserError):
            raise answer
        return answer
