"""`prelude run --dry`: what would run, and why: which dependency or parameter changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.dag import Dag, Node
from stages.common.errors import UserError

WIDTH = 34
_SHOWN = 3  # reasons of a node


@dataclass(frozen=True)
class Foreseen:
    """What a run would do with a node. follows: it would look again once the nodes it names are done."""

    name: str
    state: Literal["cached", "restore", "run", "follows"]
    why: list[str]


def foresee(root: Path, targets: list[str] | None = None, *, force: bool = False) -> list[Foreseen]:
    """In the graph's order; nothing is written. What follows a changed node may yet turn out the same. Raises UserError."""
    dag, found = Dag(root), []
    stale: set[str] = set()
    for node in dag.stages(targets):
        one = _one(dag, node, [up for up in node.upstream if up in stale], force)
        found.append(one)
        if one.state != "cached":
            stale.add(node.name)
    return found


def _one(dag: Dag, node: Node, before: list[str], force: bool) -> Foreseen:
    why = ["--force"] if force else dag.why(node)
    if before and not force:
        return Foreseen(node.name, "follows", before)
    if not why:
        return Foreseen(node.name, "cached", [])
    return Foreseen(node.name, "restore" if not force and _restorable(dag, node) else "run", why)


def _restorable(dag: Dag, node: Node) -> bool:
    try:
        return dag.in_run_cache(node)
    except UserError:  # an input is missing: the run will say so
        return False


def text(found: list[Foreseen]) -> str:
    """One line a node, and the count."""
    lines = [f"{one.name:<{WIDTH}} {one.state:<9} {_folded(one.why)}" for one in found if one.state != "cached"]
    counts = {state: sum(one.state == state for one in found) for state in ("run", "restore", "follows", "cached")}
    said = ", ".join(f"{n} {state}" for state, n in counts.items() if n)
    return "\n".join([*lines, f"would: {said}" if lines else f"nothing to do: {said}"])


def _folded(why: list[str]) -> str:
    more = f"; and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
    return "; ".join(why[:_SHOWN]) + more
