"""The trainer against the bare network: views, loading and records beside forward, backward and update of the same batches.

One thread, seconds of the processor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way, at_most
from benchmarks.simclr import trainer_of

CASES: dict[str, dict[str, Any]] = {
    "ResNet-18 width 16, 32 px": {"network": "resnet_18", "side": 32, "channels": 3, "batch": 256, "steps": 2},
    "ViT of 6 blocks of 192, 32 px": {"network": "vit", "side": 32, "channels": 3, "batch": 128, "steps": 1},
    "ResNet width 16, digits of 8 px": {"network": "small_resnet", "side": 8, "channels": 1, "batch": 128, "steps": 20},
}
NETWORKS: dict[str, dict[str, Any]] = {  # what a node says of them
    "resnet_18": {"backbone": {"name": "resnet", "width": 16}},
    "vit": {"backbone": {"name": "vit"}, "channels_last": False},
    "small_resnet": {"backbone": {"name": "resnet", "width": 16, "blocks": [1, 1, 1]}, "channels_last": False},
}


def cases(options: Options) -> list[Case]:
    made = []
    for name, given in CASES.items():
        given = {**given, **({"batch": 16, "steps": 1} if options.quick else {})}
        ways = {
            "ours": Way("Trainer", whole, given, items=given["steps"]),
            "bare": Way("forward, backward and update alone", bare, given, items=given["steps"]),
        }
        line = Line(f"trainer's step, {name}, batch {given['batch']}", "ours", ("bare",), "cost", at_most(1.15), "cpu_s")
        made.append(Case(f"step of {given['network']}", ways, (line,), prepare, given))
    return made


def prepare(folder: Path, network: str, side: int, channels: int, batch: int, steps: int) -> None:
    import numpy as np

    items = max(8 * batch, steps * batch)
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (items, side, side, channels), np.uint8))


def trained(folder: Path, network: str, channels: int, batch: int, world: Any = None) -> tuple[Any, Any]:
    """(trainer, task) of a case's pictures."""
    views = {"name": "crop_colour", "jitter": 0.5, "blur": 0.0, "flip": 0.5 if channels == 3 else 0.0}
    node = {"views": views, "objective": {"name": "simclr"}, **NETWORKS[network]}
    return trainer_of(folder, batch, 1, world, **node)


def whole(folder: Path, network: str, side: int, channels: int, batch: int, steps: int) -> Run:
    from stages.pretrain.core.observer import Observer

    trainer, task = trained(folder, network, channels, batch)
    observer = Observer(task, trainer)

    def run() -> None:
        for _ in range(steps):
            trainer.step()
            observer.stepped()

    return run


def bare(folder: Path, network: str, side: int, channels: int, batch: int, steps: int) -> Run:
    import torch

    trainer, _ = trained(folder, network, channels, batch)
    batches = [trainer.batch(0, torch.arange(i * batch, (i + 1) * batch)) for i in range(steps)]

    def run() -> None:
        for made in batches:
            trainer.backward(made)
            trainer.update()

    return run
