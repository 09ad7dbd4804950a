"""One system evaluated: its rows, curves, maps and claims written down for the report, MLflow and `dvc metrics`."""

from __future__ import annotations

from typing import Any

from stages.common import atomic
from stages.common.plan import SystemPlan
from stages.common.schema import as_plain
from stages.common.stage import Job
from stages.evaluate import claims, exhibits, maps, summary
from stages.evaluate.direction import higher_is_better
from stages.evaluate.judged import Judged, read

METRICS, RESULT = "metrics.json", "result.json"


def evaluate(job: Job) -> None:
    """Writes metrics.json ({task: {slice: {metric: mean}}}), result.json and map.parquet. Raises UserError."""
    import pyarrow.parquet as pq

    system: SystemPlan = job.node
    judged = read(job.plan.tasks_of(job.key), job.inputs, f"systems.{job.key}")
    table = summary.rows(judged)
    verdicts = [claims.judge(id, claim, judged) for id, claim in system.claims.items()]
    atomic.write_json(job.out / METRICS, summary.means(table))
    shown = exhibits.collect(judged, job.out)
    atomic.write_json(job.out / RESULT, as_plain(_result(job.key, system, judged, table, verdicts) | {"exhibits": shown}))
    pq.write_table(maps.collect(judged), job.out / maps.MAP, compression="zstd")
    for row in table:
        if row.mean is not None:
            job.record.metric(f"{row.task}/{row.metric}", row.mean, slice=row.slice, n=row.items)
    job.record.details.update(
        title=system.title,
        provenance=system.provenance,
        paper=system.paper,
        claims=[{"id": c.id, "says": c.says, "verdict": c.verdict} for c in verdicts],
    )


def _result(
    key: str, system: SystemPlan, judged: dict[str, Judged], table: list[summary.Row], verdicts: list[claims.ClaimResult]
) -> dict[str, Any]:
    names = sorted({r.metric for r in table})
    return {
        "system": key,
        "title": system.title,
        "provenance": system.provenance,
        "paper": system.paper,
        "seed": system.seed,
        "metrics": {name: {"higher_is_better": higher_is_better(name)} for name in names},
        "tasks": {k: _task(t) for k, t in judged.items()},
        "rows": table,
        "curves": summary.curves(table),
        "claims": verdicts,
    }


def _task(task: Judged) -> dict[str, Any]:
    r = task.result
    return {
        "encoder": r.encoder,
        "features": r.features,
        "head": r.head,
        "corpus": task.plan.corpus,
        "label": task.plan.label,
        "classes": r.classes,
    }
