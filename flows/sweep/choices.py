"""What sweeps have chosen: .prelude/sweeps/<name>.json, one file a sweep, the latest choice of that name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.sweep.figures import Figures
from flows.sweep.selection import Choice
from flows.sweep.table import said
from flows.sweep.variants import slug
from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.variant import Key, brief
from stages.common.workspace import Workspace

FOLDER = "sweeps"


def default_name(keys: list[str]) -> str:
    """`simclr_temperature`, of the nodes and keys that are swept."""
    return "__".join(slug(f"{Key.of(key).node}_{short}") for key, short in brief(keys).items())[:60]


def path(workspace: Workspace, name: str) -> Path:
    """The file of a sweep's choice."""
    return workspace.state / FOLDER / f"{name}.json"


def write(workspace: Workspace, name: str, axes: list[str], systems: list[str], found: Figures, choice: Choice) -> bool:
    """Notes a choice. Whether it differs from the one that was there."""
    assert choice.by.index is not None
    chosen, oracle = found.variants[choice.by.index], choice.oracle
    content = {
        "name": name,
        "axes": axes,
        "systems": systems,
        "by": {"measure": choice.by.measure.title, "of": choice.by.measure.source, "labels": choice.by.measure.sees_labels},
        "chosen": chosen.name,
        "values": chosen.values,
        "nodes": sorted(f"{section}.{copy}" for (section, _), copy in chosen.nodes.items()),
        "records": sorted(r.identity for r in found.records[choice.by.index].values()),  # known again in MLflow by these
        "oracle": None
        if oracle is None or oracle.index is None
        else {"measure": oracle.measure.title, "of": oracle.measure.source, "chosen": found.variants[oracle.index].name}
        | {"behind": choice.behind, "std": choice.spread},
        "variants": [
            {
                "name": variant.name,
                "values": variant.values,
                "figures": {f"{m.source}: {m.title}": {"mean": row[m].mean, "seeds": row[m].values} for m in found.measures},
            }
            for variant, row in zip(found.variants, found.table)
        ],
    }
    file = path(workspace, name)
    before = _read(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(file, content)
    return before != _read(file)


def selected(workspace: Workspace) -> dict[str, str]:
    """{a record's identity: the sweeps that chose it and by what}, of all sweeps in this workspace."""
    found: dict[str, list[str]] = {}
    for file in sorted((workspace.state / FOLDER).glob("*.json")):
        content = _read(file)
        if content:
            for identity in content["records"]:
                found.setdefault(identity, []).append(f"{content['name']}: {content['by']['measure']}")
    return {identity: ", ".join(names) for identity, names in found.items()}


def summary(file: Path) -> str:
    """One line about a choice, with the values to set."""
    content = _read(file) or {}
    values = " ".join(f"{key}={said(value)}" for key, value in content.get("values", {}).items())
    return f"{file}: {values}"


def _read(file: Path) -> dict[str, Any] | None:
    """A choice, or None where there is none that is whole."""
    try:
        content = atomic.read_json(file)
    except ContractError:
        return None
    return content if isinstance(content, dict) and {"records", "name", "by"} <= content.keys() else None
