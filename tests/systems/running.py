"""Runs a plan stage by stage in this process, in the order of its DAG."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from stages.common import atomic, stage
from stages.common.plan import Plan
from stages.common.workspace import Workspace


def run(whole: Plan, system: str, workspace: Workspace) -> list[dict[str, Any]]:
    """All nodes of the plan and the system's evaluation. Returns its claims as they were judged."""
    for name, key in order(whole):
        execute(name, key, whole, workspace)
    execute("evaluate", system, whole, workspace)
    claims: list[dict[str, Any]] = atomic.read_json(workspace.report(system) / "result.json")["claims"]
    return claims


def execute(name: str, key: str, whole: Plan, workspace: Workspace) -> None:
    main = importlib.import_module(f"stages.{name}.__main__")
    stage.execute(name, key, whole, workspace, main.work, main.inputs, main.target)


def order(whole: Plan) -> Iterator[tuple[str, str]]:
    """(stage, node), parents before children."""
    yield from (("ingest", key) for key in whole.corpora)
    yield from (("pretrain", key) for key in _sorted({k: e.parent for k, e in whole.encoders.items()}))
    yield from (("extract", key) for key in whole.features)
    yield from (("fit", key) for key in _sorted({k: t.support for k, t in whole.tasks.items()}))


def _sorted(links: dict[str, str]) -> Iterator[str]:
    """Nodes by name, each after the one that its path ends in, if that is one of them."""
    done: set[str] = set()
    left = list(links)
    while left:
        for key in left:
            above = links[key].rpartition("/")[2]
            section = links[key].partition("/")[0]
            if above not in links or above == key or above in done or section in ("features", "corpora"):
                done.add(key)
                yield key
        left = [k for k in left if k not in done]
