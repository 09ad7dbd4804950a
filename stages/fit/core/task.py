"""One task: a head fitted for every seed at every label share, judged on the test split, written by the task contract."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from stages.common import process, registry, tasks
from stages.common.errors import UserError
from stages.common.plan import TaskPlan
from stages.common.stage import Job
from stages.common.tasks import Predictions, TaskResult, Value
from stages.fit.core import labels as labelling
from stages.fit.core.head import Head, Outcome, Problem
from stages.fit.core.labels import Labels
from stages.fit.core.problems import Problems, supported
from stages.metrics.core.metric import Metric, metric


def fit(job: Job) -> None:
    """Reads features and labels, fits the head, writes predictions.parquet, metrics.json and the head's own tables."""
    node: TaskPlan = job.node
    process.set_threads(node.threads)
    device = _device(job.plan.compute.device)
    job.record.device = str(device)
    head: Head = registry.make("head", node.head, where=f"tasks.{job.key}.head")
    metrics = [metric(name, f"tasks.{job.key}.metrics") for name in node.metrics]
    labels = labelling.read(job.inputs["corpus"], node.label)
    _suits(head, metrics, labels, node, f"tasks.{job.key}")

    encoder = job.inputs["support"] if node.support.startswith("encoders/") else None
    problems = Problems(node, job.inputs["features"], labels, device, job.inputs["corpus"], encoder)
    support = supported(node, job.inputs["support"], device)
    result = TaskResult(job.key, node.system, node.features, problems.info.encoder, node.head.name, [], labels.classes)
    predictions: list[Predictions] = []
    tables: dict[str, list[pa.Table]] = {}
    fits: list[dict[str, Any]] = []
    seconds, rows = 0.0, 0
    for problem in problems.labelled() if head.label else problems.whole(support):
        started = time.perf_counter()
        outcome = head.fit(problem)
        seconds, rows = seconds + time.perf_counter() - started, rows + len(problem.train) + len(problem.test)
        result.metrics.extend(_judge(problem, outcome, metrics, predictions))
        fits.append(_described(problem, outcome))
        for name, columns in outcome.tables.items():
            tables.setdefault(name, []).append(
                pa.table({"seed": pa.array([problem.seed] * outcome.items, pa.int32()), **columns})
            )
        result.exhibits.extend(exhibit.written(job.out, problem.seed, problem.slice) for exhibit in outcome.exhibits)
        for text in outcome.warnings:
            job.record.warn(f"seed {problem.seed}, {problem.slice}: {text}")
    result.details.update(fits=fits, validation=problems.validation if head.label else "none", label=node.label or "")
    _write(job, result, predictions, tables)
    job.record.timings["fit_s"] = seconds
    job.record.throughput["rows_per_s"] = rows / max(seconds, 1e-9)
    job.record.details.update(result.details)


def _suits(head: Head, metrics: list[Metric], labels: Labels, node: TaskPlan, where: str) -> None:
    """Raises UserError unless the head, the metrics and the label go together."""
    if head.label is None:
        if metrics:
            raise UserError(
                f"head {node.head.name!r} makes no predictions to judge", where=f"{where}.metrics", do="leave `metrics` empty"
            )
        return
    if node.label is None:
        raise UserError(f"head {node.head.name!r} needs a label", where=where, do="add `label:`, a label column of the corpus")
    if labels.kind != head.label:
        others = {"class": "linear_probe or knn", "number": "ridge", "text": "ctc"}
        raise UserError(
            f"head {node.head.name!r} is fitted on a {head.label}, label {node.label!r} is a {labels.kind}",
            where=where,
            do=f"choose {others.get(labels.kind or '', 'another head')} or another label",
        )
    if head.label == "steps" and not metrics:  # it may judge its rows itself
        return
    if not metrics:
        raise UserError("there is no metric to judge by", where=f"{where}.metrics", do="add one, such as accuracy or r2")
    for chosen in metrics:
        if chosen.label != labels.kind:
            raise UserError(
                f"metric {chosen.name!r} judges a {chosen.label}, label {node.label!r} is a {labels.kind}",
                where=f"{where}.metrics",
                do="choose one of: " + ", ".join(n for n in registry.names("metric") if metric(n).label == labels.kind),
            )


def _judge(problem: Problem, outcome: Outcome, metrics: list[Metric], predictions: list[Predictions]) -> list[Value]:
    """The figures of one outcome; its predictions, if it made any, are added to `predictions`."""
    made = [_value(n, v, problem, outcome.items) for n, v in outcome.values.items()]
    test = problem.test
    if outcome.text is not None and test.text is not None:
        target, prediction = test.text, outcome.text
    elif outcome.prediction is not None:
        target = test.labels.cpu().numpy().astype(np.float64)
        prediction = outcome.prediction.cpu().numpy().astype(np.float64)
    else:
        return made
    score = None if outcome.score is None else outcome.score.cpu().numpy().astype(np.float32)  # judged as written
    predictions.append(Predictions(problem.seed, problem.slice, test.ids, target, prediction, score, test.index))
    items = len(set(test.ids.tolist()))
    return made + [_value(m.name, m.function(target, prediction, score), problem, items) for m in metrics]


def _value(name: str, value: float, problem: Problem, items: int) -> Value:
    return Value(name, value if math.isfinite(value) else None, problem.seed, problem.slice, items)


def _described(problem: Problem, outcome: Outcome) -> dict[str, Any]:
    counts = {split: len(getattr(problem, split)) for split in ("train", "valid", "test")}
    return {"seed": problem.seed, "slice": problem.slice, "rows": counts, **outcome.details}


def _write(job: Job, result: TaskResult, predictions: list[Predictions], tables: dict[str, list[pa.Table]]) -> None:
    tasks.write(job.out, result, predictions)
    for name, parts in tables.items():
        pq.write_table(pa.concat_tables(parts, promote_options="default"), job.out / f"{name}.parquet", compression="zstd")
    for value in result.metrics:
        number = float("nan") if value.value is None else value.value
        job.record.metric(value.name, number, seed=value.seed, slice=value.slice, n=value.n)


def _device(name: str) -> torch.device:
    """auto: an accelerator of float64 (CUDA) where there is one, else the CPU. Raises UserError for one that is not there."""
    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} cannot be used: {error}", where="compute.device", do="choose auto or cpu") from None
    return chosen
