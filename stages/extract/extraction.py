"""The stage's work: each seed's encoder over the corpus, its rows in shards that a killed run takes up again."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.common import atomic, features, process
from stages.common.corpus import Column, Corpus
from stages.common.errors import ContractError, UserError
from stages.common.features import FeaturesInfo
from stages.common.overlap import Ahead, Behind
from stages.common.plan import FeaturesPlan
from stages.common.progress import Progress
from stages.common.schema import as_plain
from stages.common.stage import Job
from stages.encoders.core import encoder as encoders
from stages.extract import rows, shards
from stages.extract.embed import Batch, Embedder, decoded


@dataclass(frozen=True)
class Done:
    """What one seed's process reports: D, rows written per split and layer, items computed and the seconds they took."""

    dimension: int
    counts: dict[str, int]
    items: int
    seconds: float
    waited: float  # seconds in which the encoder had nothing to work on
    reused: int  # shards of an earlier, killed run


def work(job: Job) -> None:
    """Writes data/features/<name>: the rows of every seed of the encoder."""
    node: FeaturesPlan = job.node
    for name in ("batch_size", "shard_rows", "copies", "threads"):
        if getattr(node, name) < 1:
            raise UserError(f"{name} must be 1 or more, got {getattr(node, name)}", where=f"features.{job.key}")
    folder, device = job.inputs["encoder"], choose_device(job.plan.compute.device)
    seeds = encoders.seeds(folder)
    if not seeds:
        raise ContractError("the encoder has no seeds", where=folder, do="run the pretraining again")
    for name in atomic.damaged(folder):
        raise ContractError("the file's bytes are not those of its manifest", where=folder / name, do="restore the encoder")
    corpus = Corpus(job.inputs["corpus"])
    for seed in seeds:  # before any compute
        card = encoders.load_card(folder / f"seed={seed}")
        encoders.fits(card, media(corpus, card), f"corpus {node.corpus}, encoder {node.encoder}")
    rows.count(corpus, node.splits, node.limit)

    unfinished = job.work / device.type  # a GPU rounds differently: no shard of the other device is taken up
    arguments = (node, folder, corpus.folder, unfinished, str(device))
    if job.plan.compute.ray is not None:
        from stages.extract import spread  # here: it builds on this module

        results = spread.per_shard(job.plan.compute.ray, seeds, *arguments)
    else:
        results = process.per_seed(one_seed, seeds, *arguments, jobs=job.plan.compute.jobs, threads=node.threads)
    for seed in seeds:
        shards.clear(unfinished / f"seed={seed}")
        shutil.move(unfinished / f"seed={seed}", job.out / f"seed={seed}")
    first = results[0]
    info = FeaturesInfo(node.rows, node.layers, first.dimension, node.dtype, seeds, first.counts, node.encoder, node.corpus)
    atomic.write_json(job.out / features.INFO, as_plain(info))
    shutil.rmtree(job.work, ignore_errors=True)

    job.record.device = str(device)
    job.record.timings |= {f"seed={seed}_s": done.seconds for seed, done in zip(seeds, results, strict=True)}
    job.record.timings["waited_s"] = sum(done.waited for done in results)
    busy = sum(done.seconds for done in results)
    job.record.throughput["items_per_s"] = sum(done.items for done in results) / max(busy, 1e-9)
    job.record.details |= {
        "dimension": first.dimension,
        "counts": first.counts,
        "reused_shards": sum(d.reused for d in results),
    }


def one_seed(seed: int, node: FeaturesPlan, encoder: Path, corpus: Path, unfinished: Path, device: str) -> Done:
    """One seed's shards, into unfinished/seed=<seed>. Batches are those of an undisturbed run wherever a killed one stopped."""
    set_precision(node.dtype)
    return Extraction(seed, node, encoder, Corpus(corpus), torch.device(device)).run(unfinished / f"seed={seed}")


class Extraction:
    """One seed: its encoder, the corpus and the batches between them. Item k of the selection is in batch k // batch_size."""

    def __init__(self, seed: int, node: FeaturesPlan, encoder: Path, corpus: Corpus, device: torch.device) -> None:
        self.seed, self.node, self.corpus, self.device = seed, node, corpus, device
        self.counts = rows.count(corpus, node.splits, node.limit)
        self.items = sum(self.counts.values())
        if not self.items:
            raise UserError(
                "there is nothing to extract", where=corpus.folder, do="name splits that hold rows, or raise `limit`"
            )
        self.encoder, card = encoders.load(encoder / f"seed={seed}", device)
        self.column = media(corpus, card)
        projector = None
        if node.output == "projection":
            projector = encoders.load_projector(encoder / f"seed={seed}", device)
        trial = next(self.batches(0, size=1))
        self.embedder = Embedder(self.encoder, node, seed, trial, projector)
        self.shard_items = max(1, node.shard_rows // (self.embedder.positions * len(node.layers)))

    def batches(self, first: int, size: int) -> Iterator[Batch]:
        """Decoded batches of `size` items from item `first` on."""
        columns = ["id", "split", self.column.name]
        for row, table in rows.batches(self.corpus, columns, self.counts, size, first):
            yield decoded(row, table, self.column, self.encoder, size, self.device)

    @property
    def shard_count(self) -> int:
        """How many shards there are."""
        return -(-self.items // self.shard_items)

    def run(self, folder: Path) -> Done:
        """Writes the shards that are not there yet."""
        began = time.monotonic()
        missing = shards.missing(folder, self.shard_count)
        progress = Progress(f"extract seed {self.seed}", self.items, "items")
        done = [self.write(folder, *span, progress) for span in spans(missing)]
        progress.close()
        counts = shards.counts(folder, self.node.splits, self.node.layers[0])
        items, waited = sum(d[0] for d in done), sum(d[1] for d in done)
        reused = self.shard_count - len(missing)
        return Done(self.embedder.dimension, counts, items, time.monotonic() - began, waited, reused)

    def write(self, folder: Path, first: int, end: int, progress: Progress | None = None) -> tuple[int, float]:
        """Writes the shards first .. end - 1. Returns their items and the seconds in which the encoder waited for them."""
        begin, stop = first * self.shard_items, min(self.items, end * self.shard_items)
        size = self.node.batch_size
        at = begin - begin % size  # a batch that began in an earlier shard is computed again: its composition is fixed
        writer = shards.ShardWriter(folder, self.embedder.dimension, self.node.dtype, first)
        batches = Ahead(itertools.islice(self.batches(at, size), -(-(stop - at) // size)))
        with Behind() as behind:
            for batch in batches:
                behind.put(self._write, writer, batch, self.embedder(batch), at, begin, stop)
                at += len(batch)
                if progress is not None:
                    progress.at(at)
            behind.put(writer.close_shard)
        return stop - begin, batches.waited

    def _write(
        self, writer: shards.ShardWriter, batch: Batch, layers: list[torch.Tensor], at: int, begin: int, end: int
    ) -> None:
        """Writes the items begin .. end - 1 of a batch whose first item is number `at`, cut where shards end."""
        start, end = max(at, begin), min(at + len(batch), end)
        while start < end:
            stop = min(end, (start // self.shard_items + 1) * self.shard_items)
            for table in self.embedder.rows(batch, layers, start - at, stop - at):
                writer.write(table)
            if stop % self.shard_items == 0:
                writer.close_shard()
            start = stop


def spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(first, end) of the runs of whole numbers that follow each other: [0, 1, 5] gives (0, 2), (5, 6)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def media(corpus: Corpus, card: encoders.EncoderCard) -> Column:
    """The corpus' media column for an encoder: that of the same name, or the only one. Raises ContractError."""
    same = any(c.name == card.column.name and c.role == "media" for c in corpus.card.columns)
    return corpus.card.media(card.column.name if same else None)


def set_precision(dtype: str) -> None:
    """On CUDA: full float32 where float32 is stored (TF32 has the 10 bits of float16 only), and repeatable kernels."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = dtype == "float16"
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises UserError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"there is no device {name!r}: {str(error).splitlines()[0]}", where="compute.device", do="use auto"
        ) from None
    return device
