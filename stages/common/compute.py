"""Where a plan runs and what its stages may take there; none of it changes results beyond floating-point order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stages.common.errors import UserError


@dataclass(frozen=True)
class SlotsPlan:
    """What a run may use at once; null: what the machine has."""

    cpu: int | None = None
    gpu: int | None = None
    memory_gb: float | None = None


@dataclass(frozen=True)
class NeedPlan:
    """What one stage takes while it runs: cores at least (its threads, if more), GPUs, GiB; its time limit in seconds."""

    cpu: int = 1
    gpu: int = 0
    memory_gb: float = 1.0
    time_limit_s: float | None = None


Sharding = Literal["none", "fsdp"]


@dataclass(frozen=True)
class RanksPlan:
    """Processes that share every batch of a pretraining. Raises UserError for numbers out of their range.

    count: of processes, with the node's threads or one GPU each. sharding: each holds the whole network (none) or a part of its
    weights and optimiser (fsdp). restarts: how often all start again from the last snapshot after one was lost.
    """

    count: int = 1
    sharding: Sharding = "none"
    restarts: int = 3

    def __post_init__(self) -> None:
        if self.count < 1 or self.restarts < 0:
            raise UserError("ranks.count is 1 or more, ranks.restarts 0 or more", where="compute.ranks")


@dataclass(frozen=True)
class RayPlan:
    """Ingest, extract and pretrain as tasks of a Ray cluster, whose nodes share this machine's files."""

    address: str | None = None  # host:port; auto: one that runs here; null: RAY_ADDRESS, else our own, on loopback
    workers: int | None = None  # tasks at once; null: as many as the cluster has room for
    cpus: float | None = None  # of a task; null: the node's threads
    retries: int = 3  # of a task whose process or machine died
    patience_s: float = 300.0  # how long a process of a pretraining waits for room in the cluster
    object_store_mb: int = 200  # memory for what passes between tasks, of a Ray that is started here


@dataclass(frozen=True)
class ComputePlan:
    """Where it runs. Not tracked as a parameter: it may not change results beyond floating-point order."""

    device: str = "auto"
    jobs: int | None = None  # seeds of a node at once; default: the cores it is given
    decode_threads: int | None = None  # of each seed that trains from a stream; default: its share of the cores
    slots: SlotsPlan = field(default_factory=SlotsPlan)
    needs: dict[str, NeedPlan] = field(default_factory=dict)  # by stage
    retries: int = 2  # of what may pass: a killed process, a time limit, the disk, the network
    retry_delay_s: float = 1.0  # before the first retry; doubled for each further one
    ranks: RanksPlan = field(default_factory=RanksPlan)
    ray: RayPlan | None = None  # null: on this machine alone
