"""The stage's work on one node: decode the corpus, train every seed, fill in the record."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from pathlib import Path

import torch

from stages.common import live, process, registry
from stages.common.corpus import Corpus
from stages.common.errors import UserError
from stages.common.plan import EncoderPlan
from stages.common.schema import as_plain, build
from stages.common.stage import Job
from stages.pretrain.core import data, distributed, streaming
from stages.pretrain.core.items import Source
from stages.pretrain.core.seed import train
from stages.pretrain.core.task import Outcome, Task


def pretrain(job: Job) -> None:
    """One encoder per seed into job.out; resumable state lies in job.work until all are done."""
    began = time.perf_counter()
    process.set_threads(job.node.threads)
    task = prepare(job)
    distributed.announce(json.dumps(as_plain(task)))
    decoded = time.perf_counter()
    outcomes = process.per_seed(train, job.node.seeds, task, jobs=_jobs(job, task.device), threads=job.node.threads)
    distributed.barrier()
    _record(job, task, outcomes)
    job.record.timings |= {"decode_s": decoded - began, "train_s": time.perf_counter() - decoded}
    shutil.rmtree(job.work)


def follow() -> None:
    """What ranks above 0 do: every seed's share of the maths."""
    task = build(Task, json.loads(distributed.listen()), "task")
    process.set_threads(task.node.threads)
    for seed in task.node.seeds:
        train(seed, task)
    distributed.barrier()


def prepare(job: Job) -> Task:
    """Checks the corpus against the encoder and decodes it. Raises ContractError or UserError."""
    node: EncoderPlan = job.node
    device = _device(job.plan.compute.device)
    corpus = Corpus(job.inputs["corpus"])
    column = corpus.card.media(node.media)
    parent = job.inputs.get("parent")
    assets = corpus.folder if parent is None else _assets(parent)
    frontend = registry.make("frontend", node.frontend, column, assets, where=f"encoders.{job.key}.frontend")
    media = job.work / "media"
    shutil.rmtree(media, ignore_errors=True)  # of a killed run: not fsynced, so not trusted
    threads = _decode_threads(job, device)
    items: Source
    if node.stream is None:
        data.decode(corpus, column, frontend, node, media, device)
        items = data.read(media / data.TRAIN)
    else:
        at_once = process.at_once(node.seeds, _jobs(job, device), node.threads)
        items = streaming.prepare(corpus, column, frontend, node, media, f"encoders.{job.key}", at_once, threads)
    mean, std = data.statistics(items, frontend, corpus)
    if node.monitor.label and not (media / data.VALID).is_dir():
        job.record.warn(f"no kNN was measured: no item of a split `{data.VALID}` has the label {node.monitor.label!r}")
    return Task(
        key=job.key,
        node=node,
        column=column,
        corpus_digest=corpus.digest,
        split_digest=corpus.card.split_digest,
        mean=mean,
        std=std,
        media=str(media.absolute()),
        assets=str(assets.absolute()),
        out=str(job.out.absolute()),
        work=str(job.work.absolute()),
        live=str(job.workspace.live(job.stage, job.key).absolute()),
        digest=job.digest,
        device=device,
        parent=None if parent is None else str(parent.absolute()),
        corpus=str(corpus.folder.absolute()),
        decode_threads=threads,
    )


def _assets(parent: Path) -> Path:
    """The folder of a parent's first seed: what an encoder grows from, its tokenizer too."""
    return next(iter(sorted(parent.glob("seed=*"))), parent)


def _device(wanted: str) -> str:
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {wanted!r}", where="compute.device", do="choose auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device", where="compute.device", do="choose auto or cpu")
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def _jobs(job: Job, device: str) -> int | None:
    """Seeds at once. Ranks take the seeds one after another, and so does a single GPU unless the plan says otherwise."""
    if distributed.world().size > 1:
        return 1
    return job.plan.compute.jobs or (1 if device == "cuda" else None)


def _decode_threads(job: Job, device: str) -> int:
    """What the plan says; else a seed's share of the cores, among the ranks of this machine."""
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * process.at_once(
        job.node.seeds, _jobs(job, device), job.node.threads
    )
    return job.plan.compute.decode_threads or max(1, process.cores() // beside)


def _record(job: Job, task: Task, outcomes: list[Outcome]) -> None:
    record = job.record
    record.device = f"cuda ({torch.cuda.get_device_name()})" if task.device == "cuda" else "cpu"
    for outcome in outcomes:
        for name, value in outcome.metrics.items():
            record.metric(name, value, seed=outcome.seed)
        for text in outcome.warnings:
            record.warn(f"seed {outcome.seed}: {text}")
        events = live.read(Path(task.live) / f"seed={outcome.seed}.jsonl")
        record.series += [(e["seed"], e["step"], name, value, e["at"]) for e in events for name, value in e["values"].items()]
    rates = [o.samples_per_second for o in outcomes if o.samples_per_second is not None]
    if rates:
        record.throughput["samples_per_s"] = statistics.mean(rates)  # of one seed
    for name in ("data_s", "views_s", "network_s"):
        record.timings[name] = sum(o.seconds[name] for o in outcomes)
    record.details |= {
        "processes": distributed.world().size,
        "input_shape": list(outcomes[0].shape),
        "parameters": outcomes[0].parameters,
        "peak_memory_mb": {str(o.seed): round(o.peak_memory_mb) for o in outcomes},
        "resumed_at_step": {str(o.seed): o.resumed_at for o in outcomes if o.resumed_at},
    }
