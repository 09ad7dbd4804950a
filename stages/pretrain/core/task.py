"""What a seed's process is handed, and what it hands back: plain values that cross process borders."""

from __future__ import annotations

from dataclasses import dataclass, field

from stages.common.compute import Sharding
from stages.common.corpus import Column
from stages.common.plan import EncoderPlan


@dataclass(frozen=True)
class Task:
    """The node and where its inputs and outputs lie; paths are absolute."""

    key: str
    node: EncoderPlan
    column: Column
    corpus_digest: str
    split_digest: str
    mean: list[float]  # of x per channel
    std: list[float]
    media: str  # folder of decoded media
    assets: str  # folder of the files that a front end may need: the corpus'
    out: str
    work: str
    live: str
    digest: str
    device: str  # cpu or cuda
    parent: str | None = None  # folder of the parent encoder
    corpus: str = ""  # folder of the corpus, from which a node with `stream:` reads
    decode_threads: int = 1  # of a stream
    sharding: Sharding = "none"  # what each of several ranks holds


@dataclass
class Outcome:
    """All of it for the record: final measures, and what varies from run to run."""

    seed: int
    metrics: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    samples_per_second: float | None = None
    peak_memory_mb: float = 0.0
    resumed_at: int = 0
    shape: tuple[int, ...] = ()  # of one item of x
    parameters: int = 0
