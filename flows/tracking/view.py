"""What MLflow shows of a record. Pure functions: the same record gives the same rows, so logging it again changes nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flows.tracking.recorded import Recorded

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric, Param, RunTag

T = TypeVar("T")
MOST_METRICS, MOST_PARAMS, MOST_TAGS = 1000, 100, 100  # of one log_batch
LONGEST = 6000  # characters of a parameter or tag
_DATASET_DIGEST = 32  # MLflow holds 36 characters of it; the whole digest is in the dataset's profile
IDENTITY, RECORD, SEED, NODE = "prelude.digest", "prelude.record", "prelude.seed", "prelude.node"
PLAN, WORKSPACE, KIND, LIVE = "prelude.plan", "prelude.workspace", "prelude.kind", "prelude.live"
GROUP = "prelude.group"
_OF_VARIANTS = ("variant_of", "varied")  # shown as tags and as `sweep.` parameters


def params(recorded: Recorded, seed: int | None, swept: Mapping[str, str] | None = None) -> list[Param]:
    """The node's plan, flattened with dots: `optim.lr`, `objective.name`; and the seed. swept: more, by their names."""
    from mlflow.entities import Param

    flat = {k: v for k, v in flatten(recorded.data["plan"]) if k not in _OF_VARIANTS} | dict(swept or {})
    if seed is not None:
        flat = {k: v for k, v in flat.items() if k != "seeds"} | {"seed": str(seed)}
    return [Param(key(k), cut(v)) for k, v in flat.items()]


def metrics(recorded: Recorded, seed: int | None) -> list[Metric]:
    """Final figures, series by step, and the node's cost as `system/...`.

    A final figure at a label share is `accuracy/10pct`; one of the whole node, in a node with seeds, is `node/...`; one that
    has a series too appears as that series' last point, or as `final/...` where the two differ.
    """
    from mlflow.entities import Metric

    series = recorded.series.get(seed, []) if seed is not None else [p for s in recorded.series.values() for p in s]
    rows = [Metric(key(name), value, at, step) for name, step, value, at in series]
    last = {m.key: m.value for m in sorted(rows, key=lambda m: m.step)}
    ended = recorded.ended()
    for final in recorded.data["metrics"]:
        if final["value"] is None or final["seed"] not in (seed, None):
            continue
        name = key(metric_name(final["name"], final["slice"]))
        if seed is not None and final["seed"] is None:
            name = f"node/{name}"
        if name in last and _same(last[name], final["value"]):
            continue
        rows.append(Metric(f"final/{name}" if name in last else name, final["value"], ended, 0))
    rows.extend(Metric(name, value, ended, 0) for name, value in system_metrics(recorded).items())
    return rows


def metric_name(name: str, slice: str) -> str:
    """`accuracy` for all labels, `accuracy/10pct` or `accuracy/5` for a label share or subgroup."""
    return name if slice == "all" else f"{name}/{slice.replace('%', 'pct')}"


def system_metrics(recorded: Recorded) -> dict[str, float]:
    """Timings (s), throughput and peak memory (MiB) of the whole node, all seeds together."""
    data = recorded.data
    found = {f"system/{key(k)}": v for k, v in (*data["timings"].items(), *data["throughput"].items())}
    found["system/peak_memory_mb"] = data["peak_memory_mb"]
    return {k: float(v) for k, v in found.items() if isinstance(v, (int, float)) and math.isfinite(v)}


def tags(recorded: Recorded, seed: int | None, upstream: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Everything but the identity, which is set last: a run that has it is whole. upstream: {input path: run ids}."""
    data = recorded.data
    inputs = [i | {"runs": list(upstream.get(i["path"], []))} for i in recorded.inputs]
    found = {
        NODE: recorded.node,
        "prelude.stage": recorded.stage,
        "prelude.key": recorded.key,
        "prelude.device": data["device"],
        "prelude.versions": json.dumps(data["versions"], sort_keys=True),
        "prelude.inputs": json.dumps(inputs),
        "prelude.outputs": json.dumps(data["outputs"]),
        "mlflow.source.name": f"python -m stages.{recorded.stage} {recorded.key}",
        "mlflow.source.type": "JOB",
        **group_tags(recorded),
    }
    if data["warnings"]:
        found["prelude.warnings"] = json.dumps(data["warnings"], ensure_ascii=False)
        found["mlflow.note.content"] = "**Warnings**\n\n" + "\n".join(f"- {w}" for w in data["warnings"])
    return {k: cut(v) for k, v in found.items()}


def group(recorded: Recorded) -> str:
    """The base that a node is a variant of, else the node itself."""
    return str(recorded.data["plan"].get("variant_of") or recorded.key)


def group_tags(recorded: Recorded) -> dict[str, str]:
    """What seeds and variants of one base have in common; `prelude.variant_of` is only a variant's."""
    base = recorded.data["plan"].get("variant_of")
    return {GROUP: f"{recorded.stage}/{group(recorded)}"} | ({"prelude.variant_of": str(base)} if base else {})


def birth_tags(node: str, digest: str, seed: int | None, workspace: str, parent: str) -> dict[str, str]:
    """What a run has from its first moment, so that a run left by a killed process is known again."""
    return {
        KIND: "node",
        NODE: node,
        RECORD: digest,
        SEED: "" if seed is None else str(seed),
        WORKSPACE: workspace,
        "mlflow.parentRunId": parent,
        "mlflow.user": "prelude",
    }


def datasets(recorded: Recorded) -> list[DatasetInput]:
    """The node's inputs, by path and digest: the lineage that MLflow draws. No bytes are copied."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    for given in recorded.inputs:
        entity = Dataset(
            name=given["path"],
            digest=given["digest"][:_DATASET_DIGEST],
            source_type="local",
            source=json.dumps({"uri": given["path"]}),
            profile=json.dumps({"sha256": given["digest"]}),
        )
        found.append(DatasetInput(entity, [InputTag("mlflow.data.context", given["name"])]))
    return found


def run_tags(values: Mapping[str, str]) -> list[RunTag]:
    """Tags in the form that a batch takes."""
    from mlflow.entities import RunTag

    return [RunTag(k, v) for k, v in values.items()]


def batches(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`rows` in pieces of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def flatten(value: Any, prefix: str = "") -> Iterable[tuple[str, str]]:
    """Nested keys joined with dots; lists and empty mappings as JSON."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, text(value)


def text(value: Any) -> str:
    """A value as a parameter: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cut(text: str) -> str:
    """At most LONGEST characters; a cut is said in the text."""
    if len(text) <= LONGEST:
        return text
    note = f" ... (cut: {len(text):,} characters in all; the record holds the whole)"
    return text[: LONGEST - len(note)] + note


def key(name: str) -> str:
    """A name with only the characters that MLflow takes in keys."""
    return re.sub(r"[^\w\-. :/]", "_", name.replace("%", "pct"))[:250]


def _same(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-12) or (math.isnan(a) and math.isnan(b))
