"""The trainer against the bare network: views, loading and records beside forward, backward and update of the same batches.

One thread; medians of processor milliseconds a step over alternating blocks, so that the other load of the machine falls out.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.common import process
from stages.common.corpus import Column
from stages.common.plan import EncoderPlan
from stages.common.schema import build
from stages.pretrain.core.data import Items
from stages.pretrain.core.distributed import World
from stages.pretrain.core.observer import Observer
from stages.pretrain.core.task import Task
from stages.pretrain.core.trainer import Trainer

AIM = 1.15
CASES: dict[str, dict[str, Any]] = {
    "resnet width 16, 32 px, batch 256": {"size": 32, "channels": 3, "items": 2048, "steps": 2, "blocks": 7},
    "digits: resnet width 16, 8 px, batch 128": {"size": 8, "channels": 1, "items": 1280, "steps": 10, "blocks": 15},
}


def trainer_of(size: int, channels: int, items: int, folder: Path, world: World | None = None) -> tuple[Trainer, Task]:
    digits = channels == 1
    node = {
        "corpus": "c",
        "parent": "corpora/c",
        "frontend": {"name": "image"},
        "backbone": {"name": "resnet", "width": 16, "blocks": [1, 1, 1] if digits else [2, 2, 2, 2]},
        "views": {"name": "crop_colour", "jitter": 0.5, "blur": 0.0, "flip": 0.0 if digits else 0.5},
        "objective": {"name": "simclr"},
        "batch_size": 128 if digits else 256,
        "epochs": 10_000,
        "channels_last": not digits,
    }
    column = Column("image", "media", "pixels", shape=[size, size, channels])
    places = dict.fromkeys(("media", "assets", "out", "work", "live", "corpus_digest", "split_digest", "digest"), str(folder))
    plan = build(EncoderPlan, node, "node")
    task = Task(
        key="bench",
        node=plan,
        column=column,
        mean=[0.5] * channels,
        std=[0.25] * channels,
        device="cpu",
        **places,  # type: ignore[arg-type]
    )
    pixels = np.random.default_rng(0).integers(0, 256, (items, size, size, channels), np.uint8)
    labels = torch.full((items,), -1)
    torch.manual_seed(0)
    return Trainer(0, task, Items(torch.from_numpy(pixels), None, torch.arange(items), labels), world or World()), task


def measure(size: int, channels: int, items: int, steps: int, blocks: int, folder: Path) -> tuple[float, float]:
    """Median milliseconds a step: (bare, trainer)."""
    trainer, task = trainer_of(size, channels, items, folder)
    observer = Observer(task, trainer)
    per_batch = task.node.batch_size
    batches = [trainer.batch(0, torch.arange(i * per_batch, (i + 1) * per_batch)) for i in range(steps)]

    def bare() -> None:
        for batch in batches:
            trainer.backward(batch)
            trainer.update()

    def whole() -> None:
        for _ in range(steps):
            trainer.step()
            observer.stepped()

    times: dict[Callable[[], None], list[float]] = {bare: [], whole: []}
    for _ in range(blocks + 1):
        for run in times:  # in turn
            begun = time.process_time()
            run()
            times[run].append((time.process_time() - begun) / steps * 1e3)
    observer.close()
    return statistics.median(times[bare][1:]), statistics.median(times[whole][1:])


def main() -> None:
    process.set_threads(1)
    print(f"{'case':44} {'bare ms':>9} {'trainer ms':>11} {'ratio':>6} {'aim':>6}")
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            bare, whole = measure(**case, folder=Path(folder))
        print(f"{name:44} {bare:9.1f} {whole:11.1f} {whole / bare:6.3f} {AIM:6.2f}")


if __name__ == "__main__":
    main()
