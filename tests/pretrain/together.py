"""Runs a function in several ranks over gloo, in fresh processes, and makes small trainers for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from stages.common import process
from stages.common.column import Column
from stages.common.compute import Sharding
from stages.common.plan import EncoderPlan
from stages.common.schema import build
from stages.pretrain.core import distributed
from stages.pretrain.core.distributed import World
from stages.pretrain.core.items import Items
from stages.pretrain.core.task import Task
from stages.pretrain.core.trainer import Trainer
from tests.pretrain.conftest import node

R = TypeVar("R")
ITEMS = 48


def together(size: int, folder: Path, work: Callable[..., R], *args: Any) -> list[R]:
    """[work(world, *args) of each rank]. folder: an empty one, where the ranks meet."""
    return process.per_seed(_rank, range(size), size, str(folder / "meeting"), work, args, jobs=size)


def _rank(rank: int, size: int, meeting: str, work: Callable[..., R], args: tuple[Any, ...]) -> R:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size)}
    with distributed.joined("cpu", f"file://{meeting}") as world:
        return work(world, *args)


def trainer(world: World, sharding: Sharding = "none", **changes: Any) -> Trainer:
    """Of 48 pictures, 8 px: the node of tests/pretrain/conftest.py with changes. The same in every process."""
    plan = build(EncoderPlan, node(batch_size=24, epochs=4, **changes), "node")
    column = Column("image", "media", "pixels", shape=[8, 8, 1])
    places = dict.fromkeys(("media", "assets", "out", "work", "live", "corpus_digest", "split_digest", "digest"), ".")
    task = Task(key="e", node=plan, column=column, mean=[0.5], std=[0.25], device="cpu", sharding=sharding, **places)
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (ITEMS, 8, 8, 1), dtype=torch.uint8, generator=generator)
    torch.manual_seed(0)
    return Trainer(0, task, Items(pictures, None, torch.arange(ITEMS), torch.full((ITEMS,), -1)), world)


def losses(trained: Trainer, steps: int) -> list[float]:
    """The losses of some further steps."""
    before = trained.done
    for _ in range(steps):
        trained.step()
    trained.settle()
    return [value for step, value in trained.history.of("total") if step > before]
