"""Training from a stream beside training from a corpus that is held, and the cost of a sample as the corpus grows.

The same network and batches; one thread trains, one decodes, of raw pixels and of PNG pictures. Each trainer is in
mid-training and takes some steps a round. Seconds of the processor are those of all threads, decoding ones too.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way, within

SIDE, AT_ONCE = 16, 2000


def cases(options: Options) -> list[Case]:
    few, *more = [600, 1200] if options.quick else [10_000, 100_000, *([1_000_000] if options.long else [])]
    steps = 1 if options.quick else 20
    made = []
    for kind in ("pixels", "png"):
        given = {"picture": kind == "png", "steps": steps}
        ways = {n: Way(f"streamed, {n:,} items", streamed, {"items": n, **given}, items=steps) for n in (few, *more)}
        both = {"streamed": ways[few], "held": Way(f"held, {few:,} items", held, {"items": few, **given}, items=steps)}
        line = Line(f"streamed training, {kind}", "streamed", ("held",), "cost")
        made.append(Case(kind, both, (line,), prepare, {"counts": [few], "picture": kind == "png"}))
        for many in more:
            line = Line(f"cost of a streamed sample, {kind}, {many:,} items", "many", ("few",), "cost", within(0.1), "cpu_s")
            pair, counts = {"few": ways[few], "many": ways[many]}, {"counts": [few, many], "picture": kind == "png"}
            made.append(Case(f"{kind}, growth to {many}", pair, (line,), prepare, counts))
    return made


def prepare(folder: Path, counts: list[int], picture: bool) -> None:
    for n in counts:
        corpus_of(folder / f"{n}/c", n, picture)


def held(folder: Path, items: int, picture: bool, steps: int) -> Run:
    return _run(folder, items, steps, stream=False)


def streamed(folder: Path, items: int, picture: bool, steps: int) -> Run:
    return _run(folder, items, steps, stream=True)


def _run(folder: Path, items: int, steps: int, stream: bool) -> Run:
    from stages.common.corpus import Corpus

    trainer = trainer_of(Corpus(folder / f"{items}/c"), folder / f"{items}/{'stream' if stream else 'held'}", stream)

    def run() -> None:
        for _ in range(steps):
            trainer.step()

    return run


def corpus_of(folder: Path, items: int, picture: bool) -> Any:
    """Random pictures, all in `train`; the same 2,000 over and over, which cost no less to read and decode."""
    import numpy as np
    import pyarrow as pa

    from stages.common import atomic
    from stages.common.corpus import KEYS, Card, Column, Corpus, CorpusWriter, write_card

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


def png(pixels: Any) -> bytes:
    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "png")
    return file.getvalue()


def trainer_of(corpus: Any, folder: Path, stream: bool) -> Any:
    """A trainer in mid-training, from the corpus decoded as a whole or from its row groups, which one thread decodes."""
    import torch

    from stages.common import process
    from stages.common.plan import EncoderPlan
    from stages.common.schema import build
    from stages.encoders.frontends.image import Image
    from stages.pretrain.core import data, streaming
    from stages.pretrain.core.distributed import World
    from stages.pretrain.core.task import Task
    from stages.pretrain.core.trainer import Trainer

    process.set_threads(1)
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
    front = Image(column, corpus.folder, height=SIDE, width=SIDE, channels=3)
    paths: dict[str, Any] = {"media": str(folder), "assets": str(corpus.folder), "corpus": str(corpus.folder)}
    unused: dict[str, Any] = dict.fromkeys(("corpus_digest", "split_digest", "out", "work", "live", "digest"), "")
    task = Task("e", node, column, mean=[0.5] * 3, std=[0.3] * 3, device="cpu", decode_threads=1, **paths, **unused)
    items: Any
    if stream:
        streaming.prepare(corpus, column, front, node, folder, "encoders.e", 1, 1)
        items = streaming.opened(task, torch.device("cpu"))
    else:
        data.decode(corpus, column, front, node, folder, "cpu")
        items = data.read(folder / data.TRAIN)
    torch.manual_seed(0)
    return Trainer(0, task, items, World())
