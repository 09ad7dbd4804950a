"""The claims and verdicts of data/reports/*/result.json, as rows for a table: of Prefect, of MLflow and of the terminal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from stages.common.workspace import Workspace


@dataclass(frozen=True)
class Row:
    """One claim of one system. figures: each task's mean, best first as the claim has them."""

    system: str
    claim: str
    says: str
    verdict: str
    figures: str
    data: str  # real or simulated


def results(workspace: Workspace) -> list[dict[str, Any]]:
    """The results of all evaluated systems; one that is damaged is left out."""
    found = []
    for path in sorted(workspace.data.glob("reports/*/result.json")):
        try:
            found.append(json.loads(path.read_bytes()))
        except (OSError, ValueError):
            continue
    return found


def read(workspace: Workspace) -> list[Row]:
    """One row per claim, by system."""
    return [
        Row(r["system"], c["id"], c["says"], c["verdict"], _figures(c), r.get("provenance", ""))
        for r in results(workspace)
        for c in r.get("claims", [])
    ]


def higher_is_better(workspace: Workspace) -> dict[str, bool]:
    """{metric: whether more of it is better}, as the evaluation says."""
    found = {}
    for result in results(workspace):
        found.update({name: bool(about["higher_is_better"]) for name, about in result.get("metrics", {}).items()})
    return found


def markdown(rows: list[Row]) -> str:
    """A table; empty where there is no claim."""
    if not rows:
        return ""
    lines = ["| system | claim | says | verdict | figures | data |", "|---|---|---|---|---|---|"]
    for r in rows:
        cells = (r.system, r.claim, r.says, f"**{r.verdict}**", r.figures, r.data)
        lines.append("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |")
    return "\n".join(lines)


def _figures(claim: dict[str, Any]) -> str:
    shown = []
    for task, metrics in claim.get("values", {}).items():
        means = [f"{v['mean']:.3f}" for v in metrics.values() if v.get("mean") is not None]
        shown.append(f"{task} {' / '.join(means)}".strip())
    return ", ".join(shown)
