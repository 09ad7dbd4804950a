"""`prelude show NODE`: a node's record in words, with its figures, where it stands in the lineage and in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows import figures, lineage
from flows.tracking import marker
from flows.tracking.recorded import Recorded
from stages.common import atomic
from stages.common import plan as plans
from stages.common.errors import UserError, unknown
from stages.common.plan import SECTIONS, Plan, TrackingPlan
from stages.common.schema import as_plain
from stages.common.workspace import Workspace

_WIDTH = 100  # of a line that lists many nodes
_NOT_SHOWN = {
    "missing": "not shown in MLflow yet; `prelude run` shows it there",
    "another": "MLflow shows an earlier result of this node; `prelude run` shows this one there too",
}


def record(root: Path, node: str) -> dict[str, Any]:
    """The record of a node named `key` or `stage@key`; a key of several stages is the first one's, `also` names the others.

    Beside what the stage wrote: `state` (ran; changed: its plan is another now; left: the plan has it no more; planned: it has
    not run), `reads`, `read_by`, `lineage`, `figures`, `mlflow`. A planned node has `stage`, `key`, `plan` and `reads` only.
    Raises UserError.
    """
    workspace = Workspace(root)
    records, plan = lineage.records(workspace), _plan(root)
    if not records and plan is None:
        raise UserError("nothing has run yet", where=workspace.data, do="run `prelude run`")
    wanted = lineage.planned(plan) if plan else {}
    one, *also = _named(node, list(dict.fromkeys([*records, *wanted])))
    if one not in records:
        assert plan is not None
        return {**_planned(plan, one, wanted[one], list(records)), "also": also}
    found = records[one]
    all_reads = lineage.upstream(workspace, records, one)
    return {
        **found,
        "state": _state(plan, found),
        "reads": sorted({r.of for r in all_reads if r.node == one and r.of in records and not _remade(records[r.of], r)}),
        "read_by": lineage.readers(records, one),
        "lineage": {
            "upstream": [
                {"node": r.node, "path": r.path, "of": r.of, "digest": r.digest, "there": r.there, "stale": r.stale}
                for r in all_reads
            ],
            "downstream": lineage.downstream(records, one),
        },
        "figures": [
            {"name": f.name, "slice": f.slice, "mean": f.mean, "std": f.std, "n": f.n, "seeds": _by_seed(f)}
            for f in figures.figures(found)
        ],
        "mlflow": _mlflow(workspace, plan, found),
        "also": also,
    }


def text(record: dict[str, Any]) -> str:
    """The record for a terminal."""
    lines = _planned_text(record) if record["state"] == "planned" else _text(record)
    return "\n".join([*lines, *([f"  also     {', '.join(record['also'])}"] if record["also"] else [])])


def _text(record: dict[str, Any]) -> list[str]:
    name = lineage.name(record)
    lines = [f"{name}  ({record['device']}, {record['timings']['total_s']:.1f} s)"]
    if record["state"] != "ran":
        why = {"changed": "its plan has changed since", "left": "it is in the plan no more"}[record["state"]]
        lines.append(f"  state    {why}")
    for title in ("inputs", "outputs"):
        lines += dict.fromkeys(f"  {title[:-1]:8} {i['path']}  {i['digest'][:12]}" for i in record[title])
    lines.append(f"  reads    {_some(record['reads']) or 'no node'}")
    lines.append(f"  read by  {_some(record['read_by']) or 'nothing yet'}")
    lines += _lineage(name, record["lineage"])
    lines += [f"  warning  {w}" for w in record["warnings"]]
    lines += [f"  {line}" for line in _figures(record)]
    for rate, value in record["throughput"].items():
        lines.append(f"  {rate:24} {'not finite' if value is None else format(value, '.1f')}")
    lines.append(f"  peak memory {record['peak_memory_mb']:.0f} MiB; digest {record['digest'][:12]}")
    lines += [f"  claim    {c['id']}: {c['verdict']}" for c in record["details"].get("claims", [])]
    return lines + _mlflow_text(record["mlflow"])


def _lineage(name: str, found: dict[str, Any]) -> list[str]:
    """One line a stage, from the corpora down; a star where a node read something else than what is there now."""
    above = [r["of"] for r in found["upstream"]]
    stale = [r for r in found["upstream"] if r["stale"]]
    marked = {r["node"] for r in stale}
    lines = []
    for stage, keys in lineage.levels([*above, name, *found["downstream"]]).items():
        shown = [f"[{k}]" if f"{stage}@{k}" == name else k for k in keys]
        shown = [f"{s}*" if f"{stage}@{k}" in marked else s for s, k in zip(shown, keys, strict=True)]
        lines.append(f"    {stage:10} {_some(shown)}")
    for r in stale:
        there = f"there is {r['there'][:12]} now" if r["there"] else "nothing is there now"
        lines.append(f"    * stale: {r['node']} read {r['path']} {r['digest'][:12]}, {there}")
    return ["  lineage", *lines]


def _some(words: list[str]) -> str:
    """As many words as a line holds, and how many more there are; one in brackets is always among them."""
    shown = ", ".join(words)
    if len(shown) <= _WIDTH:
        return shown
    kept = [w for w in words if w.startswith("[")]
    for word in words:
        if word not in kept and len(", ".join([*kept, word])) <= _WIDTH - 16:
            kept.append(word)
    return f"{', '.join(w for w in words if w in kept)} and {len(words) - len(kept)} more"


def _figures(record: dict[str, Any]) -> list[str]:
    """`accuracy  5 labels a class  0.9099 ± 0.0143  (0.9220 0.8942 0.9136)  n=359`: over seeds, and each seed's value."""
    rows = []
    shares = record["stage"] == "fit" and any(f["slice"] != "all" for f in record["figures"])
    for f in record["figures"]:
        spread = "" if f["std"] is None else f" ± {f['std']:.4f}"
        seeds = f"  ({' '.join(map(_value, f['seeds'].values()))})" if len(f["seeds"]) > 1 else ""
        count = f"  n={f['n']}" if f["n"] else ""
        slice = figures.labels(record["stage"], f["slice"]) or ("all labels" if shares else "")
        rows.append((f["name"], slice, f"{_value(f['mean'])}{spread}{seeds}{count}"))
    wide, narrow = (max((len(row[i]) for row in rows), default=0) for i in (0, 1))
    return [f"{name:<{max(24, wide)}} {slice:<{narrow}} {rest}" for name, slice, rest in rows]


def _value(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _by_seed(figure: figures.Figure) -> dict[str, float | None]:
    return {"" if seed is None else str(seed): value for seed, value in figure.values.items()}


def _mlflow_text(shown: dict[str, Any]) -> list[str]:
    if shown["note"]:
        return [f"  MLflow   {shown['note']}"]
    lines = [f"  MLflow   {f'seed {seed} ' if seed else ''}run {run}" for seed, run in shown["runs"].items()]
    return [*lines, f"  page     {shown['pages'][next(iter(shown['runs']))]}"]


def _planned_text(record: dict[str, Any]) -> list[str]:
    lines = [f"{lineage.name(record)}  (planned; it has not run)"]
    lines += [f"  would read {r['of']}  ({'it ran' if r['ran'] else 'it has not run either'})" for r in record["reads"]]
    lines += [] if record["reads"] else ["  would read no node"]
    return [*lines, f"  run it   prelude run {lineage.name(record)}"]


def _planned(plan: Plan, node: str, paths: list[str], ran: list[str]) -> dict[str, Any]:
    stage, _, key = node.partition("@")
    reads = [{"of": lineage.maker(p), "path": f"data/{p}", "ran": lineage.maker(p) in ran} for p in paths]
    return {"stage": stage, "key": key, "state": "planned", "plan": as_plain(plan.node(stage, key)), "reads": reads}


def _named(node: str, names: list[str]) -> list[str]:
    """The nodes that a name means, the first stage's first. Raises UserError for none, and for a whole stage."""
    found = [n for n in names if node in (n, n.partition("@")[2])]
    found.sort(key=lambda n: list(lineage.levels(names)).index(n.partition("@")[0]))
    if found:
        return found
    of_stage = [n for n in names if n.startswith(f"{node}@")]
    if of_stage:
        raise UserError(f"{node!r} is a stage, not a node", where="data/records", do=f"write one of: {', '.join(of_stage)}")
    if node == "report":
        raise UserError("the report has no record", where="data/report", do="open data/report/index.html, or `prelude run`")
    raise unknown("node", node, names if "@" in node else [n.partition("@")[2] for n in names], where="data/records")


def _plan(root: Path) -> Plan | None:
    """The plan as it is now; records are shown without it too."""
    try:
        return plans.load(root / "params.yaml")
    except UserError:
        return None


def _state(plan: Plan | None, record: dict[str, Any]) -> str:
    """Whether the plan still says what it said when the node ran."""
    section = getattr(plan, SECTIONS.get(record["stage"], ""), None) if plan else None
    if section is None:
        return "ran"
    if record["key"] not in section:
        return "left"
    now = atomic.digest_json(as_plain(section[record["key"]]))
    return "ran" if now == atomic.digest_json(record["plan"]) else "changed"


def _remade(made: dict[str, Any], read: lineage.Read) -> bool:
    """Whether a node has made something else since it was read."""
    return (read.path, read.digest) not in {(out["path"], out["digest"]) for out in made["outputs"]}


def _mlflow(workspace: Workspace, plan: Plan | None, record: dict[str, Any]) -> dict[str, Any]:
    """{"runs": ids by seed, "pages": addresses by seed, "note": why there are none}."""
    recorded = Recorded(workspace.record(record["stage"], record["key"]), record)
    runs, page, another = marker.runs_of(workspace, plan.tracking if plan else TrackingPlan(), recorded)
    note = "" if runs else _NOT_SHOWN["another" if another else "missing"]
    return {"runs": runs, "pages": {seed: f"{page}/{run}" for seed, run in runs.items()}, "note": note}
