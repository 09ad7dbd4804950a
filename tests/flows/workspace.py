"""A workspace as a pipeline leaves it, small and synthetic: records and sealed outputs through the contracts' own writers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.plan import Plan
from stages.common.records import Record
from stages.common.schema import as_plain, build
from stages.common.workspace import Workspace
from tests.flows import tiny

PART = {"name": "none"}


def make_plan(encoders: int = 2, seeds: int = 2, uri: str = "sqlite:///mlflow.db", real: bool = False) -> Plan:
    """One corpus, `encoders` encoders (the last one random), their features and probes, one system with a claim.

    real: the encoders are saved networks (tiny.register their parts first).
    """
    names = [f"e{i}" for i in range(encoders - 1)] + ["random"]
    many = list(range(seeds))
    front, back = ({"name": "tiny_pixels"}, {"name": "tiny_linear"}) if real else (PART, PART)
    encoder = {"corpus": "digits", "frontend": front, "backbone": back, "views": PART, "parent": "corpora/digits"}
    task = {"system": "quick", "corpus": "digits", "head": {"name": "linear_probe"}, "metrics": ["accuracy"]}
    return build(
        Plan,
        {
            "corpora": {"digits": {"title": "Digits", "source": PART, "reader": PART}},
            "encoders": {
                n: encoder | {"objective": {"name": "none" if n == "random" else "simclr"}, "seeds": many} for n in names
            },
            "features": {n: {"encoder": n, "corpus": "digits"} for n in names},
            "tasks": {
                f"probe_{n}": task
                | {"features": n, "support": f"features/{n}", "labels": ["10%", "all"], "label": "digit", "seeds": many}
                for n in names
            },
            "systems": {"quick": {"title": "Quick", "claims": {}}},
            "tracking": {"uri": uri},
        },
        "plan",
    )


def populate(workspace: Workspace, plan: Plan, steps: int = 5) -> None:
    """Outputs and records of every node of the plan."""
    for name, corpus in plan.corpora.items():
        node(workspace, "ingest", name, corpus, workspace.corpus(name), {})
    for name, encoder in plan.encoders.items():
        pretrain(workspace, plan, name, steps)
        inputs = {"encoder": workspace.encoder(name), "corpus": workspace.corpus(encoder.corpus)}
        if name in plan.features:
            node(workspace, "extract", name, plan.features[name], workspace.features(name), inputs)
    for i, (name, task) in enumerate(plan.tasks.items()):
        fit(workspace, plan, name, task, 0.9 - 0.1 * i)
    for name, system in plan.systems.items():
        tasks = {t: workspace.task(name, t) for t in plan.tasks_of(name)}
        result = {
            "system": name,
            "title": system.title,
            "provenance": "simulated",
            "metrics": {"accuracy": {"higher_is_better": True}},
            "claims": [
                {
                    "id": "order",
                    "says": "trained beats random",
                    "verdict": "holds",
                    "values": {"probe_e0": {"accuracy": {"mean": 0.9}}},
                }
            ],
        }
        node(workspace, "evaluate", name, system, workspace.report(name), tasks, files={"result.json": result})
    reports = {name: workspace.report(name) for name in plan.systems}
    node(workspace, "report", "report", None, workspace.page, reports, files={"index.html": "<h1>Report</h1>"})


def pretrain(workspace: Workspace, plan: Plan, name: str, steps: int = 5, digest: str | None = None) -> None:
    encoder = plan.encoders[name]
    record = started("pretrain", name, encoder, digest)
    for seed in encoder.seeds:
        record.series += [(seed, s, "loss", 1.0 / (1 + s + seed), 1_700_000_000.0 + s) for s in range(steps)]
        record.metric("loss", 1.0 / (steps + seed), seed=seed)
        record.metric("knn", 0.5 + 0.01 * seed, seed=seed)
    record.metric("collapsed", 0.0)
    files: dict[str, Any] = {f"seed={s}/weights.txt": f"{name} {s}" for s in encoder.seeds}
    if encoder.frontend.name.startswith("tiny"):
        files = {f"seed={s}": functools.partial(tiny.write, seed=s) for s in encoder.seeds}
    finish(workspace, record, workspace.encoder(name), {"corpus": workspace.corpus(encoder.corpus)}, files)


def fit(workspace: Workspace, plan: Plan, name: str, task: Any, accuracy: float) -> None:
    record = started("fit", name, task)
    for seed in task.seeds:
        for share in task.labels:
            record.metric("accuracy", accuracy + 0.01 * seed - (0.1 if share != "all" else 0), seed=seed, slice=share, n=20)
    inputs = {"features": workspace.features(task.features), "support": workspace.features(task.features)}
    inputs["corpus"] = workspace.corpus(task.corpus)
    finish(workspace, record, workspace.task(task.system, name), inputs, {"metrics.json": {"accuracy": accuracy}})


def node(
    workspace: Workspace,
    stage: str,
    key: str,
    plan: Any,
    out: Path,
    inputs: dict[str, Path],
    files: dict[str, Any] | None = None,
) -> None:
    finish(workspace, started(stage, key, plan), out, inputs, files or {"card.json": {"key": key}})


def started(stage: str, key: str, plan: Any, digest: str | None = None) -> Record:
    plain = as_plain(plan) or {}
    record = Record(stage, key, digest or atomic.digest_json([stage, key, plain]), plain)
    record.throughput["items_per_s"] = 100.0
    return record


def finish(workspace: Workspace, record: Record, out: Path, inputs: dict[str, Path], files: dict[str, Any]) -> None:
    with atomic.replacing(out) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            elif isinstance(content, str):
                path.write_text(content)
            else:
                atomic.write_json(path, content)
    record.inputs = [
        {"name": n, "path": p.relative_to(workspace.root).as_posix(), "digest": atomic.manifest(p)["digest"]}
        for n, p in inputs.items()
    ]
    path = out.relative_to(workspace.root).as_posix()
    record.outputs = [{"name": record.stage, "path": path, "digest": atomic.manifest(out)["digest"]}]
    with atomic.replacing(workspace.record(record.stage, record.key)) as folder:
        record.write(folder)
