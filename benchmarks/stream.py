"""Training from a stream beside training from a corpus that is held, and the cost of a sample as the corpus grows.

    python -m benchmarks.stream [--items 10000 40000 ...] [--picture] [--threads 1] [--steps 20] [--rounds 5]

One trainer per size, each in mid-training, take `steps` steps in turn; medians over the rounds, lowest and highest beside them.
Ratios are to the same network on the smallest corpus, held. wall: of the clock. cpu: of all threads, decoding ones too. waited:
the share of the clock in which a step had no batch. --picture: PNG instead of raw pixels. The aims: 10^4 to 10^6 within 10%.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from stages.common import atomic, process
from stages.common.corpus import KEYS, Card, Column, Corpus, CorpusWriter, write_card
from stages.common.plan import EncoderPlan
from stages.common.schema import build
from stages.encoders.core.encoder import Frontend
from stages.encoders.frontends.image import Image
from stages.pretrain.core import data, streaming
from stages.pretrain.core.distributed import World
from stages.pretrain.core.items import Source
from stages.pretrain.core.task import Task
from stages.pretrain.core.trainer import Trainer

SIDE, AT_ONCE = 16, 2000
AIM = 1.1


def corpus_of(folder: Path, items: int, picture: bool) -> Corpus:
    """Random pictures, all in `train`; the same 2,000 over and over, which cost no less to read and decode."""
    column = Column("image", "media", "image") if picture else Column("image", "media", "pixels", shape=[SIDE, SIDE, 3])
    pixels = np.random.default_rng(0).integers(0, 256, (AT_ONCE, SIDE, SIDE, 3), np.uint8)
    stored = pa.array([{"bytes": png(p), "path": None} if picture else p.reshape(-1) for p in pixels], column.type)
    folder.mkdir(parents=True)
    writer = CorpusWriter(folder, [*KEYS, column])
    for at in range(0, items, AT_ONCE):
        count = min(AT_ONCE, items - at)
        keys = [pa.array([f"{at + i}" for i in range(count)]), pa.array(["train"] * count), pa.array(["g"] * count)]
        writer.write(pa.record_batch([*keys, stored.slice(0, count)], writer.schema))
    writer.close()
    columns, counts = [*KEYS, column], {"train": items}
    write_card(folder, Card("c", "c", "none", "simulated", {}, columns, counts, {"train": 1}, writer.shards, "c"))
    atomic.seal(folder)
    return Corpus(folder)


def png(pixels: np.ndarray) -> bytes:
    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "png")
    return file.getvalue()


def trainer_of(corpus: Corpus, folder: Path, stream: bool, threads: int) -> Trainer:
    plan: dict[str, Any] = {
        "corpus": "c",
        "parent": "corpora/c",
        "frontend": {"name": "image", "height": SIDE, "width": SIDE, "channels": 3},
        "backbone": {"name": "resnet", "width": 16, "blocks": [1, 1, 1]},
        "views": {"name": "crop_colour", "blur": 0.0},
        "objective": {"name": "simclr"},
        "epochs": 10_000,
        "monitor": {"rows": 16},
        "stream": {} if stream else None,
    }
    node, column = build(EncoderPlan, plan, "node"), corpus.card.media()
    front: Frontend = Image(column, corpus.folder, height=SIDE, width=SIDE, channels=3)
    paths = {"media": str(folder), "assets": str(corpus.folder), "corpus": str(corpus.folder)}
    unused = dict.fromkeys(("corpus_digest", "split_digest", "out", "work", "live", "digest"), "")
    task = Task("e", node, column, mean=[0.5] * 3, std=[0.3] * 3, device="cpu", decode_threads=threads, **paths, **unused)
    items: Source
    if stream:
        streaming.prepare(corpus, column, front, node, folder, "encoders.e", 1, threads)
        items = streaming.opened(task, torch.device("cpu"))
    else:
        data.decode(corpus, column, front, node, folder, "cpu")
        items = data.read(folder / data.TRAIN)
    torch.manual_seed(0)
    return Trainer(0, task, items, World())


def timed(steps: int, trainer: Trainer) -> tuple[float, float, float]:
    """Milliseconds a sample of the clock, of the processor, and the share of the clock spent waiting for batches."""
    waited, wall, cpu = trainer.seconds["data"], time.perf_counter(), time.process_time()
    for _ in range(steps):
        trainer.step()
    wall, cpu, waited = time.perf_counter() - wall, time.process_time() - cpu, trainer.seconds["data"] - waited
    samples = steps * trainer.per_step
    return wall / samples * 1e3, cpu / samples * 1e3, waited / wall


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream")
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 40_000])
    parser.add_argument("--picture", action="store_true")
    parser.add_argument("--threads", type=int, default=1, help="that decode; the network has one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    process.set_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        corpora = {n: corpus_of(root / f"{n}/c", n, args.picture) for n in sorted(args.items)}
        smallest = min(corpora)
        trainers = {f"held, {smallest} items": trainer_of(corpora[smallest], root / "held", False, args.threads)}
        for n, corpus in corpora.items():
            trainers[f"streamed, {n} items"] = trainer_of(corpus, root / f"{n}/m", True, args.threads)
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in trainers}
        for _ in range(args.rounds + 1):  # in turn; the first warms up
            for name, trainer in trainers.items():
                found[name].append(timed(args.steps, trainer))
        for trainer in trainers.values():
            trainer.items.close()
    show({name: rows[1:] for name, rows in found.items()})


def show(found: dict[str, list[tuple[float, float, float]]]) -> None:
    names = list(found)
    held, least = found[names[0]], found[names[1]]
    print(f"{'ratio to the corpus that is held':34} {'wall':>20} {'cpu':>20} {'waited':>7}")
    for name, rows in found.items():
        ratios = [spread([row[k] / statistics.median(r[k] for r in held) for row in rows]) for k in (0, 1)]
        print(f"{name:34} {ratios[0]:>20} {ratios[1]:>20} {statistics.median(r[2] for r in rows):7.1%}")
    for name in names[2:]:
        grown = [statistics.median(r[k] for r in found[name]) / statistics.median(r[k] for r in least) for k in (0, 1)]
        print(f"a sample: {name} / {names[1]}: wall {grown[0]:.3f}, cpu {grown[1]:.3f} (aim <= {AIM})")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
