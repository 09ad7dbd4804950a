"""Extraction on a Ray cluster: each shard that is not there yet is one unit of work, on whichever machine is free."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stages.common import cluster, process
from stages.common.compute import RayPlan
from stages.common.corpus import Corpus
from stages.common.plan import FeaturesPlan
from stages.common.progress import Progress
from stages.common.schema import as_plain, build
from stages.extract import extraction, shards
from stages.extract.extraction import Done, Extraction


def per_shard(
    plan: RayPlan, seeds: Sequence[int], node: FeaturesPlan, encoder: Path, corpus: Path, unfinished: Path, device: str
) -> list[Done]:
    """What `one_seed` does, shard by shard on the plan's cluster, to the same bytes. A finished shard is not computed again."""
    process.set_threads(node.threads)
    first = Extraction(seeds[0], node, encoder, Corpus(corpus), torch.device(device))  # mistakes show here; seeds cut alike
    folders = {seed: unfinished.absolute() / f"seed={seed}" for seed in seeds}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    missing = {seed: shards.missing(folder, first.shard_count) for seed, folder in folders.items()}
    common = {"node": as_plain(node), "encoder": str(encoder.absolute()), "corpus": str(corpus.absolute()), "device": device}
    units = [
        common | {"seed": seed, "number": number, "folder": str(folders[seed])} for seed in seeds for number in missing[seed]
    ]
    progress = Progress("extract on Ray", len(units), "shards")
    figures = {seed: [0.0, 0.0, 0.0] for seed in seeds}  # items, seconds, seconds waited
    if units:
        done = cluster.each(plan, write, units, threads=node.threads, gpus=int(device.startswith("cuda")))
        for number, (unit, found) in enumerate(done, 1):
            figures[unit["seed"]] = [a + b for a, b in zip(figures[unit["seed"]], found, strict=True)]
            progress.at(number)
    progress.close()
    counts = shards.counts(folders[seeds[0]], node.splits, node.layers[0])
    return [
        Done(first.embedder.dimension, counts, int(items), seconds, waited, first.shard_count - len(missing[seed]))
        for seed, (items, seconds, waited) in figures.items()
    ]


def write(unit: dict[str, Any]) -> tuple[int, float, float]:
    """One shard of one seed. Returns its items, the seconds that they took, and those in which the encoder waited."""
    began = time.monotonic()
    number, folder = unit.pop("number"), Path(unit.pop("folder"))
    if (folder / shards.name(number)).exists():
        return 0, 0.0, 0.0  # a task whose machine was taken for dead had written it after all
    items, waited = _extraction(json.dumps(unit, sort_keys=True)).write(folder, number, number + 1)
    return items, time.monotonic() - began, waited


@functools.lru_cache(maxsize=1)
def _extraction(unit: str) -> Extraction:
    """A process keeps the encoder of its last shard: the next one is mostly of the same seed."""
    given = json.loads(unit)
    node = build(FeaturesPlan, given["node"], "node")
    process.set_threads(node.threads)
    extraction.set_precision(node.dtype)
    return Extraction(given["seed"], node, Path(given["encoder"]), Corpus(Path(given["corpus"])), torch.device(given["device"]))
