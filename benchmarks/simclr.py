"""SimCLR end to end, and its views alone, against lightly: the same network, batch and operations, on the CPU.

ResNet-18 with the stem for small pictures, width 16, 32 px, batch 256, two views: a window of 0.2 to 1 of the picture,
mirrored, colours at strength 0.5, grey; no blur. lightly as its documentation has it: SimCLRTransform in a DataLoader, one pass
a view, NTXentLoss, torch's AdamW. It gets the same backbone, and the better of 0 and 2 workers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks import pictures
from benchmarks.core.case import Case, Line, Options, Run, Way, at_least

BATCH, WIDTH, AREA, JITTER, TEMPERATURE = 256, 16, (0.2, 1.0), 0.5, 0.5
PEERS = ("lightly", "torchvision")


def cases(options: Options) -> list[Case]:
    batch = 16 if options.quick else BATCH
    items, some = (2 * batch, batch) if options.quick else (12 * batch, 2 * batch)
    kind, threads = pictures.kind(options.mirror), 1 if options.quick else 2
    prepare = {"items": items, "mirror": options.mirror}
    loaders = {
        f"lightly_{n}": Way(f"lightly, {n} workers", theirs, {"workers": n, "batch": batch}, PEERS, items, threads)
        for n in (0, 2)
    }
    whole = Case(
        "training",
        {"ours": Way("Trainer", ours, {"batch": batch, "threads": threads}, items=items, threads=threads), **loaders},
        (
            Line(
                f"SimCLR end to end, ResNet-18 width 16, batch {batch}, {threads} threads; {kind}",
                "ours",
                tuple(loaders),
                aim=at_least(2),
                why="97% of a step is the network's forward and backward, which the peer runs too (notes.md)",
            ),
        ),
        pictures.prepare,
        prepare,
        same=("weights",),
    )
    views = Case(
        "views",
        {
            "ours": Way("crop_colour", our_views, {"items": some, "batch": batch}, items=some),
            "lightly": Way("lightly's transforms, picture by picture", their_views, {"items": some}, PEERS, some),
        },
        (
            Line(
                f"views of SimCLR, 1 thread; {kind}",
                "ours",
                ("lightly",),
                aim=at_least(8),
                why="hue and window are most of it (notes.md)",
            ),
        ),
        pictures.prepare,
        prepare,
        same=("brightness",),
        tolerance=0.1,  # they draw other windows and colours
    )
    return [whole, views]


def trainer_of(folder: Path, batch: int, threads: int = 2, world: Any = None, **node: Any) -> tuple[Any, Any]:
    """(trainer, task) of images.npy, as the stage makes them; the node trains on and on. world: this rank's place."""
    import numpy as np
    import torch

    from stages.common import process
    from stages.common.column import Column
    from stages.common.plan import EncoderPlan
    from stages.common.schema import build
    from stages.pretrain.core.distributed import World
    from stages.pretrain.core.items import Items
    from stages.pretrain.core.task import Task
    from stages.pretrain.core.trainer import Trainer

    process.set_threads(threads)
    pixels = torch.from_numpy(np.load(folder / "images.npy"))
    side, channels = pixels.shape[1], pixels.shape[3]
    plan: dict[str, Any] = {
        "corpus": "c",
        "parent": "corpora/c",
        "frontend": {"name": "image"},
        "backbone": {"name": "resnet", "width": WIDTH},
        "views": {"name": "crop_colour", "area": list(AREA), "jitter": JITTER, "blur": 0.0},
        "objective": {"name": "simclr", "temperature": TEMPERATURE},
        "batch_size": batch,
        "epochs": 100_000,
        "channels_last": True,
        "threads": threads,
        **node,
    }
    column = Column("image", "media", "pixels", shape=[side, side, channels])
    places = dict.fromkeys(("media", "assets", "out", "work", "live", "corpus_digest", "split_digest", "digest"), str(folder))
    mean, std = [0.5] * channels, [0.25] * channels
    made = build(EncoderPlan, plan, "node")
    task = Task(key="bench", node=made, column=column, mean=mean, std=std, device="cpu", **places)  # type: ignore[arg-type]
    torch.manual_seed(0)
    items = Items(pixels, None, torch.arange(len(pixels)), torch.full((len(pixels),), -1))
    return Trainer(0, task, items, world or World()), task


def ours(folder: Path, batch: int, threads: int) -> Run:
    """An epoch by the trainer, with what the stage does beside it: events and losses told."""
    from benchmarks.core.values import trainable
    from stages.pretrain.core.observer import Observer

    trainer, task = trainer_of(folder, batch, threads)
    observer = Observer(task, trainer)

    def run() -> dict[str, float]:
        for _ in range(trainer.per_epoch):
            trainer.step()
            observer.stepped()
        _check(trainer.settle().get("total", observer.shown.get("loss", math.nan)))
        return {"weights": trainable(trainer.encoder)}

    return run


def theirs(folder: Path, batch: int, workers: int) -> Run:
    """An epoch of lightly's own loop."""
    import numpy as np
    import torch
    from PIL import Image

    from benchmarks.core import torchvision
    from benchmarks.core.values import trainable
    from stages.common import registry
    from stages.common.schema import Part

    torchvision.load()
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead

    pixels = np.load(folder / "images.npy")
    transform = simclr_transform({"mean": [0.5] * 3, "std": [0.25] * 3})

    class Pictures(torch.utils.data.Dataset):
        """Arrays in memory, as torchvision's own CIFAR-10 has them."""

        def __len__(self) -> int:
            return len(pixels)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.fromarray(pixels[index]))

    torch.manual_seed(0)
    front = type("Front", (), {"shape": (3, pictures.SIDE, pictures.SIDE)})
    backbone: Any = registry.make("backbone", Part("resnet", {"width": WIDTH}), front)
    net = torch.nn.Sequential(backbone, SimCLRProjectionHead(backbone.width, backbone.width, 128)).train()
    loss_of, optimiser = NTXentLoss(temperature=TEMPERATURE), torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-4)
    workers_too: dict[str, Any] = {"persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}
    loader = torch.utils.data.DataLoader(Pictures(), batch, shuffle=True, drop_last=True, num_workers=workers, **workers_too)

    def run() -> dict[str, float]:
        for x0, x1 in loader:
            loss = loss_of(net(x0), net(x1))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        _check(loss.item())
        return {"weights": trainable(backbone)}

    return run


def simclr_transform(normalise: dict[str, list[float]] | None) -> Any:
    """lightly's, at the same settings."""
    from lightly.transforms import SimCLRTransform

    return SimCLRTransform(
        input_size=pictures.SIDE, cj_strength=JITTER, min_scale=AREA[0], gaussian_blur=0.0, normalize=normalise
    )


def our_views(folder: Path, items: int, batch: int) -> Run:
    import torch

    trainer, _ = trainer_of(folder, batch, threads=1)
    epoch = 0

    def run() -> dict[str, float]:
        nonlocal epoch
        epoch += 1
        views = [v for i in range(0, items, batch) for v in trainer.batch(epoch, torch.arange(i, min(i + batch, items))).views]
        return {"brightness": float(torch.stack([v.mean() for v in views]).mean())}

    return run


def their_views(folder: Path, items: int) -> Run:
    import numpy as np
    import torch
    from PIL import Image

    from benchmarks.core import torchvision

    torchvision.load()
    pixels, transform = np.load(folder / "images.npy"), simclr_transform(None)

    def run() -> dict[str, float]:
        found = [transform(Image.fromarray(picture)) for picture in pixels[:items]]
        views = [torch.stack(view) for view in zip(*found, strict=True)]
        return {"brightness": float(torch.stack([v.mean() for v in views]).mean())}

    return run


def _check(loss: float) -> None:
    if not math.isfinite(loss):
        raise RuntimeError(f"the loss is {loss}")
