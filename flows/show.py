"""`prelude show NODE`: a node's record, with where it stands in the lineage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.errors import UserError, unknown
from stages.common.workspace import Workspace


def record(root: Path, node: str) -> dict[str, Any]:
    """The record of a node named `key` or `stage@key`, plus `reads` and `read_by`. Raises UserError."""
    records = {path.parent: atomic.read_json(path) for path in sorted(Workspace(root).data.glob("records/*/*/record.json"))}
    found = [r for r in records.values() if node in (r["key"], _name(r))]
    if not found:
        names = [_name(r) if "@" in node else r["key"] for r in records.values()]
        raise (
            unknown("node", node, names, where="data/records")
            if names
            else UserError("nothing has run yet", where=Workspace(root).data, do="run `prelude run`")
        )
    if len(found) > 1:
        choices = ", ".join(map(_name, found))
        raise UserError(f"{node!r} names several nodes", where="data/records", do=f"write one of: {choices}")
    (one,) = found
    reads = [_name(r) for r in records.values() if _content(r["outputs"]) & _content(one["inputs"])]
    readers = [_name(r) for r in records.values() if _content(r["inputs"]) & _content(one["outputs"])]
    return {**one, "reads": reads, "read_by": readers}


def _name(record: dict[str, Any]) -> str:
    return f"{record['stage']}@{record['key']}"


def _content(folders: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """What was read or made: a folder with a certain content; two nodes may well make the same."""
    return {(folder["path"], folder["digest"]) for folder in folders}


def text(record: dict[str, Any]) -> str:
    """The record for a terminal."""
    lines = [f"{record['stage']}@{record['key']}  ({record['device']}, {record['timings']['total_s']:.1f} s)"]
    for title in ("inputs", "outputs"):
        lines += [f"  {title[:-1]:8} {i['path']}  {i['digest'][:12]}" for i in record[title]]
    lines.append(f"  reads    {', '.join(record['reads']) or 'no node'}")
    lines.append(f"  read by  {', '.join(record['read_by']) or 'nothing yet'}")
    lines += [f"  warning  {w}" for w in record["warnings"]]
    for metric in record["metrics"]:
        seed = "" if metric["seed"] is None else f" seed {metric['seed']}"
        value = "not finite" if metric["value"] is None else f"{metric['value']:.4f}"
        count = f"  n={metric['n']}" if metric["n"] else ""
        lines.append(f"  {metric['name']:24} {value}  labels {metric['slice']}{seed}{count}")
    for name, value in record["throughput"].items():
        lines.append(f"  {name:24} {'not finite' if value is None else format(value, '.1f')}")
    lines.append(f"  peak memory {record['peak_memory_mb']:.0f} MiB; digest {record['digest'][:12]}")
    return "\n".join(lines)
