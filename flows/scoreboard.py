"""The scoreboard: systems, claims, verdicts; from this workspace's reports, else from the committed docs/systems/<id>.json."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flows import compose
from flows.differences import differences
from stages.common import atomic
from stages.common.errors import UserError
from stages.common.plan import SECTIONS
from stages.common.workspace import Workspace

RESULT = "result.json"
_NAMED = 100  # classes of a label that a committed result lists by name


def systems(root: Path) -> list[dict[str, Any]]:
    """Every system: {"id", "seed", "title", "provenance", "from", "claims": [...]}.

    A claim is {"id", "says", "verdict", "values", "seeds", "correlation"}; one that has not been run has the verdict
    "not run". `from` says where the verdicts come from.
    """
    return [_system(root, name) for name in compose.systems(root)]


def _system(root: Path, name: str) -> dict[str, Any]:
    written = _written(root, name)
    local, committed = Workspace(root).report(name) / RESULT, root / "docs" / "systems" / f"{name}.json"
    origin = "this workspace" if local.exists() else "docs" if committed.exists() else "not run"
    result = atomic.read_json(local if local.exists() else committed) if origin != "not run" else {"claims": []}
    ran = {claim["id"]: claim for claim in result["claims"]}
    claims = [
        {
            "id": claim,
            "says": said["says"],
            "verdict": ran.get(claim, {}).get("verdict", "not run"),
            "values": _ordered(ran.get(claim, {}).get("values", {}), said),
            "seeds": ran.get(claim, {}).get("seeds", 0),
            "correlation": ran.get(claim, {}).get("correlation"),
        }
        for claim, said in written.get("claims", {}).items()
    ]
    keys = ("seed", "title", "provenance")
    return {"id": name, **{k: written.get(k) for k in keys}, "from": origin, "claims": claims}


def _ordered(values: dict[str, Any], claim: dict[str, Any]) -> dict[str, Any]:
    """Values by task, in the claim's order; files hold them sorted by name."""
    correlation = claim.get("correlation") or {}
    first = [*(claim.get("order") or []), *correlation.get("x", []), *correlation.get("y", [])]
    names = dict.fromkeys([*(task for task in first if task in values), *values])
    return {name: values[name] for name in names}


def _written(root: Path, name: str) -> dict[str, Any]:
    """The system's own entry, read from its file: composing all systems would take seconds."""
    import yaml

    path = root / "params" / "system" / f"{name}.yaml"
    data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    entry: dict[str, Any] = {"seed": None, "provenance": "real", **(data.get("systems") or {}).get(name, {})}
    return entry


def commit(root: Path, name: str) -> Path:
    """Copies this workspace's result of a system to docs/systems/, with plan digest, code revision and kind of machine.

    The names of very many classes are left out: those of an ontology would be most of the file, for each task again.
    """
    data = compose.make(root, [name])[0]
    folder = Workspace(root).report(name)
    if not folder.exists():
        raise UserError(f"system {name!r} has no result here", where=folder, do=f"run `prelude run {name}` first")
    atomic.manifest(folder)
    result = atomic.read_json(folder / RESULT)
    _of_this_plan(root, name, data)
    for task in result.get("tasks", {}).values():
        if len(task["classes"]) > _NAMED:
            task["classes"] = []
    result["run"] = {
        "plan": plan_digest(data),
        "code": revision(root),
        "machine": machine(),
    }
    target = root / "docs" / "systems" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(target, result)
    return target


def plan_digest(data: dict[str, Any]) -> str:
    """Of the nodes of a composed plan: where it runs and is tracked is no part of it."""
    return atomic.digest_json({section: data[section] for section in SECTIONS.values()})


def _of_this_plan(root: Path, name: str, data: dict[str, Any]) -> None:
    """Raises UserError where params.yaml, which was run, defines a node of the system otherwise than its file does."""
    run = compose.plan.read(root / "params.yaml")
    for section in SECTIONS.values():
        for key, node in data[section].items():
            other = run.get(section, {}).get(key)
            if other != node:
                shown = "; ".join(differences(other, node, " / ")) if other else "it is not there"
                raise UserError(
                    f"the plan that was run is not the system's: {section}.{key}: {shown}",
                    where=root / "params.yaml",
                    do=f"run `prelude run {name}`, then commit",
                )


def revision(root: Path) -> str:
    """The code's Git revision, with `+` where the working tree differs."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
        return done.stdout.strip()

    return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def machine() -> str:
    """The kind of machine: processor or GPU model and cores; no host name."""
    import os

    cores = f"{len(os.sched_getaffinity(0))} cores"
    try:
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        model = None
    return f"{model[1].strip() if model else platform.machine()}, {cores}"


def print_scoreboard(root: Path, only: Collection[str] | None = None) -> None:
    """The scoreboard as a table on the terminal; with `only` of those systems, and how many others there are."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Scoreboard", title_justify="left")
    for column in ("system", "data", "claim", "verdict", "figures"):
        table.add_column(column, overflow="fold")
    colours = {"holds": "green", "contradicted": "red", "open": "yellow"}
    found = systems(root)
    chosen = [s for s in found if only is None or s["id"] in only]
    for system in chosen:
        for i, claim in enumerate(system["claims"]):
            verdict = claim["verdict"]
            name = (system["id"], system["provenance"]) if i == 0 else ("", "")
            shown = f"[{colours[verdict]}]{verdict}[/]" if verdict in colours else verdict
            table.add_row(*name, escape(claim["says"]), shown, figures(claim))
        if not system["claims"]:
            table.add_row(system["id"], system["provenance"], "no claim", "", "")
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    if left := len(found) - len(chosen):
        console.print(f"{left} other system{' is' if left == 1 else 's are'} not in the plan: `prelude systems` shows all.")
    if (root / "data/report/index.html").exists():
        console.print("Next: open data/report/index.html, or `prelude ui` for MLflow; `prelude show NODE` for one node.")


def figures(claim: dict[str, Any]) -> str:
    """What a verdict rests on: Spearman's rho with its interval, or each task's mean ± standard deviation over seeds."""
    found = claim["correlation"]
    if found is not None:
        return (
            f"rho {found['estimate']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" if found["low"] is not None else "rho none"
        )
    parts = []
    for task, metrics in claim["values"].items():
        for value in metrics.values():
            spread = "" if value["std"] is None else f" ± {value['std']:.3f}"
            parts.append(f"{task} {value['mean']:.3f}{spread}" if value["mean"] is not None else f"{task} none")
    return " > ".join(parts) if claim["verdict"] == "holds" else ", ".join(parts)
