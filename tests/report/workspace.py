"""A workspace as a week of work leaves it: two systems, one of them on simulated data, with records and curves.

python -m tests.report.workspace FOLDER writes one and its page, to look at.
"""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.common import atomic, stage
from stages.common.plan import Plan
from stages.common.records import Record
from stages.common.schema import as_plain, build
from stages.common.tasks import Value
from stages.common.workspace import Workspace
from stages.evaluate import __main__ as evaluate
from stages.report import __main__ as report
from tests.evaluate.builders import predictions, stand_ins, write_task

SHARES = {"5": 0.0, "10%": 0.45, "all": 1.0}
DIGITS = {
    "simclr": (0.86, 0.975),
    "vicreg": (0.845, 0.97),
    "barlow": (0.84, 0.968),
    "random": (0.55, 0.90),
    "student": (0.80, 0.955),
    "pixels": (0.66, 0.93),
}
SPEECH = {"cpc": (0.61, 0.78), "apc": (0.60, 0.775), "melspec": (0.41, 0.63)}
RANK = {
    "simclr": 41.0,
    "student": 37.0,
    "vicreg": 58.0,
    "barlow": 52.0,
    "random": 6.0,
    "pixels": 18.0,
    "cpc": 33.0,
    "apc": 29.0,
    "melspec": 9.0,
}
# Of a sweep over SimCLR's temperature: RankMe is best where the probe is not.
SWEPT = {0.05: (0.80, 0.95), 0.1: (0.84, 0.968), 1.0: (0.83, 0.96)}
KEY = "encoders.simclr.objective.temperature"


def the_plan() -> Plan:
    """One corpus, encoders, their features and probes per system; claims that hold, fail and stay open."""
    corpora: dict[str, Any] = {
        "digits": {"title": "Handwritten digits (UCI)", "licence": "CC BY 4.0", "provenance": "real"},
        "tones": {"title": "Spoken vowels, synthesised", "licence": "generated", "provenance": "simulated"},
    }
    for corpus in corpora.values():
        corpus |= {"source": {"name": "bundled"}, "reader": {"name": "table"}}
        corpus["labels"] = {"class": {"kind": "class", "classes": [str(c) for c in range(10)]}}
    encoders, features, tasks = {}, {}, {}
    for system, corpus, members in (("quickstart", "digits", DIGITS), ("speech", "tones", SPEECH)):
        for name in members:
            part = {"name": "none"}
            encoders[name] = {"corpus": corpus, "parent": f"corpora/{corpus}", "frontend": part, "backbone": part}
            encoders[name] |= {"views": part, "objective": {"name": name}}
            features[f"{name}_clip"] = {"encoder": name, "corpus": corpus}
            common = {"system": system, "corpus": corpus, "features": f"{name}_clip", "support": f"features/{name}_clip"}
            tasks[f"probe_{name}"] = common | {"head": {"name": "probe"}, "label": "class", "metrics": ["accuracy"]}
            tasks[f"measures_{name}"] = common | {"head": {"name": "measures"}}
    encoders["student"] |= {"parent": "encoders/simclr", "objective": {"name": "distil"}}
    tasks["map_simclr"] = {**tasks["probe_simclr"], "head": {"name": "feature_map"}}
    tasks["map_cpc"] = {**tasks["probe_cpc"], "head": {"name": "feature_map"}}
    probe, measures = [f"probe_{n}" for n in DIGITS], [f"measures_{n}" for n in DIGITS]
    claims = {
        "helps": {"says": "Contrastive pretraining beats a random encoder and raw pixels (Sec. 4)", "metric": "accuracy"}
        | {"slice": "5", "order": ["probe_simclr", "probe_pixels", "probe_random"]},
        "same": {"says": "SimCLR beats VICReg with every label (Tab. 1)", "metric": "accuracy", "slice": "all"}
        | {"order": ["probe_simclr", "probe_vicreg"]},
        "rankme": {"says": "RankMe orders encoders as the linear probe does (Fig. 1)"}
        | {"correlation": {"x": measures, "x_metric": "rankme", "y": probe, "y_metric": "accuracy", "above": 0.5}},
    }
    spoken = {
        "features": {"says": "Contrastive prediction beats log-mel features (Tab. 2)", "metric": "accuracy", "slice": "10%"}
        | {"order": ["probe_cpc", "probe_melspec"], "margin": 0.05},
        "by_far": {
            "says": "Contrastive prediction beats autoregressive prediction by ten points (Tab. 2)",
            "metric": "accuracy",
        }
        | {"order": ["probe_cpc", "probe_apc"], "margin": 0.1},
    }
    systems = {
        "quickstart": {"title": "Digits quickstart", "paper": "Chen et al. 2020; Bardes et al. 2022", "claims": claims},
        "speech": {
            "title": "Predictive coding of speech",
            "provenance": "simulated",
            "seed": 12,
            "paper": "van den Oord et al. 2018",
        }
        | {"claims": spoken},
    }
    whole = {"corpora": corpora, "encoders": encoders, "features": features, "tasks": tasks, "systems": systems}
    return build(Plan, whole, "plan")


def with_sweep(plan: Plan) -> Plan:
    """The same with variants of SimCLR, and of what follows it but the map."""
    whole, mark = as_plain(plan), {"varied": [KEY]}
    whole["encoders"]["simclr"]["objective"]["temperature"] = 0.5
    for temperature in SWEPT:
        tail = "__temperature_" + str(temperature).replace(".", "_")
        objective = {"name": "simclr", "temperature": temperature}
        whole["encoders"][f"simclr{tail}"] = {
            **whole["encoders"]["simclr"],
            "objective": objective,
            "variant_of": "simclr",
            **mark,
        }
        clip = {**whole["features"]["simclr_clip"], "encoder": f"simclr{tail}", "variant_of": "simclr_clip", **mark}
        whole["features"][f"simclr_clip{tail}"] = clip
        links = {"features": f"simclr_clip{tail}", "support": f"features/simclr_clip{tail}"}
        for task in ("probe_simclr", "measures_simclr"):
            whole["tasks"][f"{task}{tail}"] = {**whole["tasks"][task], **links, "variant_of": task, **mark}
    return build(Plan, whole, "plan")


def write(root: Path, plan: Plan | None = None) -> Workspace:
    """Writes data/ of the whole plan but the report, with records."""
    plan, workspace = plan or the_plan(), Workspace(root)
    for name in plan.corpora:
        _record(
            workspace,
            plan,
            "ingest",
            name,
            {},
            f"corpora/{name}",
            details=_card(name),
            seconds=4.0,
            rate=("items_per_s", 812.0),
        )
    for number, (name, encoder) in enumerate(plan.encoders.items()):
        made_from = {"corpus": f"corpora/{encoder.corpus}", "parent": encoder.parent}
        trained = name not in ("random", "pixels", "melspec")
        series = _series(number) if trained else []
        warnings = (
            ["RankMe fell below 5 at step 20: the features may collapse; see docs/pretrain.md"] if name == "barlow" else []
        )
        rate = ("samples_per_s", 275.4 + number)
        seconds = 312.0 if trained else 0.6
        _record(workspace, plan, "pretrain", name, made_from, f"encoders/{name}", series, warnings, seconds=seconds, rate=rate)
    for name, features in plan.features.items():
        made_from = {"encoder": f"encoders/{features.encoder}", "corpus": f"corpora/{features.corpus}"}
        _record(workspace, plan, "extract", name, made_from, f"features/{name}", rate=("rows_per_s", 2222.0))
    for name, task in plan.tasks.items():
        _task(workspace.task(task.system, name), name, task.head.name, plan.features[task.features].encoder)
        made_from = {"features": f"features/{task.features}", "corpus": f"corpora/{task.corpus}"}
        _record(workspace, plan, "fit", name, made_from, f"tasks/{task.system}/{name}")
    with pytest.MonkeyPatch.context() as patch:
        stand_ins(patch)
        for system in plan.systems:
            stage.execute("evaluate", system, plan, workspace, evaluate.work, evaluate.inputs, evaluate.target)
    return workspace


def write_report(workspace: Workspace, plan: Plan | None = None) -> Path:
    return stage.execute("report", "report", plan or Plan(), workspace, report.work, report.inputs, report.target)


def _task(folder: Path, name: str, head: str, encoder: str) -> None:
    variants = {f"simclr__temperature_{str(t).replace('.', '_')}": (t, reached) for t, reached in SWEPT.items()}
    low, high = (DIGITS | SPEECH | {n: reached for n, (_, reached) in variants.items()})[encoder]
    if head == "probe":
        found = []
        for seed in range(3):
            rng = np.random.default_rng([seed, *name.encode()])
            ability = rng.normal(0, 0.006)
            easy = np.random.default_rng(seed).random(360)  # the same items are hard for every encoder
            for share, progress in SHARES.items():
                rate = low + (high - low) * progress + ability
                found.append(predictions(easy + rng.normal(0, 0.02, 360) < rate, seed, share, classes=10))
        write_task(folder, found, ("accuracy", "balanced"), encoder=encoder)
    elif head == "measures":
        rng = np.random.default_rng(list(name.encode()))
        rank = RANK[encoder] if encoder in RANK else 50.0 - 10.0 * variants[encoder][0]
        values = [Value("rankme", rank + float(rng.normal(0, 1)), seed) for seed in range(3)]
        write_task(folder, [], (), values, "measures", encoder)
    else:
        write_task(folder, [], (), [Value("trustworthiness", 0.943, 0), Value("trustworthiness", 0.951, 1)], head, encoder)
        _map(folder / "map.parquet")
        atomic.seal(folder)


def _map(path: Path, n: int = 900, classes: int = 10) -> None:
    rng = np.random.default_rng(5)
    label = rng.integers(0, classes, n)
    columns: dict[str, list[Any]] = {"seed": [], "id": [], "x": [], "y": [], "label": []}
    for seed in range(2):
        angle = 2 * math.pi * label / classes + seed
        x, y = 6 * np.cos(angle) + rng.normal(0, 1, n), 6 * np.sin(angle) * (1 + label % 3) / 2 + rng.normal(0, 1, n)
        columns["seed"] += [seed] * n
        columns["id"] += [f"digit-{i:04d}" for i in range(n)]
        columns["x"] += list(x)
        columns["y"] += list(y)
        columns["label"] += [str(c) for c in label]
    pq.write_table(pa.table(columns), path)


def _series(number: int) -> list[tuple[int, int, str, float, float]]:
    """240 logged steps per seed: total and terms of a loss, learning rate; kNN and RankMe once an epoch."""
    rows = []
    for seed in range(3):
        rng = np.random.default_rng([number, seed])
        for step in range(10, 2410, 10):
            done = step / 2400
            loss = 5.2 * math.exp(-3 * done) + 1.1 + 0.2 * number + rng.normal(0, 0.06)
            at = 1.76e9 + step
            rows += [(seed, step, "total", loss, at), (seed, step, "lr", 0.5 * (1 + math.cos(math.pi * done)) * 1e-3, at)]
            rows.append((seed, step, "alignment", 0.6 * math.exp(-2 * done) + rng.normal(0, 0.01), at))
            if step % 120 == 0:
                rows.append((seed, step, "knn", 0.93 - 0.02 * number - 0.5 * math.exp(-5 * done) + rng.normal(0, 0.006), at))
                rows.append((seed, step, "rankme", 8 + (40 + 4 * number) * done + rng.normal(0, 0.8), at))
    return rows


def _card(name: str) -> dict[str, Any]:
    counts = {"train": 1257, "valid": 180, "test": 360}
    return {
        "counts": counts,
        "groups": {k: v // 3 for k, v in counts.items()},
        "totals": {"items": 1797.0, "quarantined": 1.0, "pixels": 115_008.0} if name == "digits" else {"seconds": 3120.5},
        "duplicates": {"exact": {"policy": "report", "pairs": 2, "cross_split_pairs": 1, "dropped": 0, "examples": []}},
        "source": {"digest": _digest(name)},
        "quarantined": [{"item": "scan-0417.png", "reason": "truncated image"}] if name == "digits" else [],
    }


def _record(
    workspace: Workspace,
    plan: Plan,
    of: str,
    key: str,
    inputs: dict[str, str],
    output: str,
    series: list[tuple[int, int, str, float, float]] | None = None,
    warnings: list[str] | None = None,
    details: dict[str, Any] | None = None,
    seconds: float = 1.8,
    rate: tuple[str, float] = ("items_per_s", 9100.0),
) -> None:
    record = Record(of, key, _digest(f"{of}/{key}"), as_plain(plan.node(of, key)), started=1.76e9)
    record.inputs = [{"name": n, "path": f"data/{p}", "digest": _folder_digest(workspace, p)} for n, p in inputs.items()]
    record.outputs = [{"name": of, "path": f"data/{output}", "digest": _folder_digest(workspace, output)}]
    record.timings, record.throughput = {"total_s": seconds}, dict([rate])
    record.warnings, record.details, record.series = warnings or [], details or {}, series or []
    with atomic.replacing(workspace.record(of, key)) as folder:
        record.write(folder)


def _folder_digest(workspace: Workspace, path: str) -> str:
    manifest = workspace.data / path / atomic.MANIFEST
    return str(atomic.read_json(manifest)["digest"]) if manifest.exists() else _digest(path)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    write_report(write(Path(sys.argv[1]), with_sweep(the_plan())))
