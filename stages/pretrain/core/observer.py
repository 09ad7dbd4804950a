"""Tells the outside how a seed gets on: live events, a progress line, warnings. It changes nothing in the training."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stages.common.live import Live
from stages.common.progress import Progress
from stages.pretrain.core.task import Task
from stages.pretrain.core.trainer import Trainer

EVERY = 1.0  # seconds: losses are read back and told no more often than this, and at the ends of epochs


class Observer:
    """Rank 0 speaks, the others are silent. The progress line is that of the node's first seed."""

    def __init__(self, task: Task, trainer: Trainer) -> None:
        self.trainer, self.title = trainer, f"pretrain {task.key} seed {trainer.seed}"
        self.live: Live | None = None
        self.progress: Progress | None = None
        self.speaks = trainer.world.leads
        if self.speaks:
            self.live = Live(Path(task.live), trainer.seed, task.digest, trainer.steps, trainer.done or None)
            if trainer.steps and trainer.seed == task.node.seeds[0]:
                self.progress = Progress(self.title, trainer.steps)
        self.shown: dict[str, float] = {}
        self.said: set[str] = set()
        self.told = time.monotonic()
        self.started, self.first, self.aside = time.perf_counter(), trainer.done, 0.0

    def stepped(self) -> None:
        """After every step."""
        if time.monotonic() - self.told >= EVERY:
            self.tell(self.trainer.settle())
        elif self.progress is not None:
            self.progress.at(self.trainer.done, **self.shown)

    def tell(self, values: dict[str, float]) -> None:
        """Appends a live event of the last step's values."""
        self.told = time.monotonic()
        if not values:
            return
        self.shown = {"loss": values["total"]} if "total" in values else self.shown
        if self.live is not None:
            self.live.event(self.trainer.done, values)
        if self.progress is not None:
            self.progress.at(self.trainer.done, **self.shown)

    def warn(self, texts: list[str]) -> None:
        """Each warning once, as soon as there is cause for it."""
        for text in texts:
            if self.speaks and text not in self.said:
                self.said.add(text)
                sys.stderr.write(f"warning: {self.title}: {text}\n")

    @contextlib.contextmanager
    def aside_from_training(self) -> Iterator[None]:
        """Time spent in the block does not count in the throughput."""
        begun = time.perf_counter()
        yield
        self.aside += time.perf_counter() - begun

    def samples_per_second(self) -> float | None:
        steps = self.trainer.done - self.first
        taken = time.perf_counter() - self.started - self.aside
        return steps * self.trainer.per_step / taken if steps else None

    def close(self) -> None:
        if self.live is not None:
            self.live.close()
        if self.progress is not None:
            self.progress.close()
