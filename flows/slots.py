"""What may run at once: cores, GPUs and memory, taken by a stage while it runs.

A stage with several seeds takes as many cores as it can use when it is the only one ready, and its least when others wait: so
the cores are full either way. Seeds come out the same however many run side by side.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from flows.dag import Node
from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.plan import SECTIONS, Plan
from stages.common.workspace import Workspace

_KEPT_FREE = 0.15  # of the machine's memory, for this process, its servers and the system
_MANY = 64  # processes that can check a corpus' items side by side; they take what is free
_ROOM = 1.2  # what a stage held last time may grow by


@dataclass(frozen=True)
class Need:
    """What a stage takes. cores: at least and at most; memory in GiB; limit_s: the time after which its command is stopped."""

    least: int = 1
    most: int = 1
    gpus: int = 0
    memory_gb: float = 0.0
    limit_s: float | None = None


@dataclass(frozen=True)
class Grant:
    """What a stage was given. gpus: the devices' numbers."""

    cores: int = 1
    gpus: tuple[int, ...] = ()
    memory_gb: float = 0.0
    limit_s: float | None = None

    def environment(self) -> dict[str, str]:
        """Tells a command what it was given."""
        devices = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, self.gpus))} if self.gpus else {}
        return {"PRELUDE_CORES": str(self.cores), **devices}


@dataclass
class Slots:
    """Cores, GPUs and GiB that are free."""

    cores: int
    gpus: list[int] = field(default_factory=list)
    memory_gb: float = float("inf")

    def __post_init__(self) -> None:
        self._all = (self.cores, len(self.gpus), self.memory_gb)

    def take(self, need: Need, waiting: int = 1) -> Grant | None:
        """Slots for one of `waiting` stages that are ready, or None while there are too few.

        A stage that needs more than the machine has runs alone: it may do with less, and its own error would say more.
        """
        cores, gpus, memory = min(need.least, self._all[0]), min(need.gpus, self._all[1]), min(need.memory_gb, self._all[2])
        if cores > self.cores or gpus > len(self.gpus) or memory > self.memory_gb:
            return None
        cores = max(cores, min(need.most, self.cores // max(1, waiting)))
        grant = Grant(cores, tuple(self.gpus[:gpus]), memory, need.limit_s)
        self.cores -= cores
        self.gpus = self.gpus[gpus:]
        self.memory_gb -= memory
        return grant

    def give_back(self, grant: Grant) -> None:
        self.cores += grant.cores
        self.gpus = sorted([*self.gpus, *grant.gpus])
        self.memory_gb += grant.memory_gb


def of_machine(plan: Plan, workers: int | None = None) -> Slots:
    """The plan's slots; what it leaves open is what the machine has. workers: cores instead of either."""
    slots = plan.compute.slots
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 * (1 - _KEPT_FREE)
    gpus = range(_gpus() if slots.gpu is None else slots.gpu)
    return Slots(workers or slots.cpu or len(os.sched_getaffinity(0)), list(gpus), slots.memory_gb or memory)


def need(node: Node, plan: Plan, workspace: Workspace) -> Need:
    """What a node takes: by its stage's kind and its seeds, and the memory that its record says it held the last time.

    A pretraining of several ranks takes the cores, the GPU and the memory of one for each of them; its seeds take turns.
    """
    stage, _, key = node.name.rpartition("@")
    kind = plan.compute.needs.get(stage or key)
    if kind is None:
        return Need()
    threads, seeds = _width(stage, key, plan)
    least = max(kind.cpu, threads)
    memory = max(kind.memory_gb, _held(workspace, stage, key) / 1024 * _ROOM)
    here = stage == "pretrain" and plan.compute.ray is None
    ranks = plan.compute.ranks.count if here else 1
    if ranks > 1:
        return Need(least * ranks, least * ranks, kind.gpu * ranks, memory * ranks, kind.time_limit_s)
    return Need(least, max(least, seeds * threads), kind.gpu, memory, kind.time_limit_s)


def _width(stage: str, key: str, plan: Plan) -> tuple[int, int]:
    """(threads of a process, processes that it can use)."""
    if stage not in SECTIONS or key not in getattr(plan, SECTIONS[stage]):
        return 1, 1
    node = plan.node(stage, key)
    if stage == "ingest":
        return 1, _MANY
    if stage == "extract":
        return node.threads, len(plan.encoders[node.encoder].seeds) if node.encoder in plan.encoders else 1
    return getattr(node, "threads", 1), len(node.seeds) if stage == "pretrain" else 1


def _held(workspace: Workspace, stage: str, key: str) -> float:
    try:
        record = atomic.read_json(workspace.record(stage, key) / "record.json")
        return float(record["peak_memory_mb"])
    except (ContractError, KeyError, TypeError, ValueError):
        return 0.0


def _gpus() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() not in ("", "-1")])
    folder = Path("/proc/driver/nvidia/gpus")  # importing torch to ask would take seconds
    return len(list(folder.iterdir())) if folder.is_dir() else 0
