"""Grids of a recipe: `grids:` of a system's file, spread into nodes as a sweep spreads its points."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from flows.scale import GRIDS
from stages.common.errors import UserError

MOST_STAGES = 250  # of a recipe: a run of it takes minutes of DVC's own time beyond
_LISTS = {"order": None, "correlation": ("x", "y"), "choice": ("among", "by", "other")}


def spread_grids(data: Mapping[str, Any], system: str) -> dict[str, Any]:
    """A system's plan with the nodes of its grids, and its claims with `task*` written out: the base, then its variants.

    A grid is a mapping of keys to lists, of which every combination is taken, or a list of such mappings. Copies are named and
    marked as those of `prelude sweep`. Raises UserError for a grid that names nothing, or grows too large.
    """
    from flows.sweep.variants import spread

    whole = {key: value for key, value in data.items() if key != GRIDS}
    grids = data.get(GRIDS) or {}
    if not grids:
        return whole
    entry = whole["systems"][system]
    bare = {**whole, "systems": {**whole["systems"], system: {**entry, "claims": {}}}}
    for name, grid in grids.items():
        bare = spread(bare, list(_points(grid, f"params/system/{system}.yaml: {GRIDS}.{name}")), MOST_STAGES).data
    groups = {name: [name] for name, task in bare["tasks"].items() if not task.get("variant_of")}
    for name, task in bare["tasks"].items():
        if task.get("variant_of"):
            groups[task["variant_of"]].append(name)
    claims = {id: _written_out(claim, groups) for id, claim in (entry.get("claims") or {}).items()}
    return {**bare, "systems": {**whole["systems"], system: {**entry, "claims": claims}}}


def _points(grid: Any, where: str) -> Iterator[dict[str, Any]]:
    parts = grid if isinstance(grid, list) else [grid]
    for part in parts:
        if not isinstance(part, Mapping) or not all(isinstance(values, list) for values in part.values()) or not part:
            raise UserError(
                "a grid maps keys of nodes to lists of values", where=where, do="write {encoders.a.optim.lr: [1, 2]}"
            )
        for values in itertools.product(*part.values()):
            yield dict(zip(part, values, strict=True))


def _written_out(claim: Mapping[str, Any], groups: Mapping[str, list[str]]) -> dict[str, Any]:
    def names(listed: Any) -> Any:
        if not isinstance(listed, list):
            return listed
        return [n for name in listed for n in (groups.get(str(name)[:-1], [name]) if str(name).endswith("*") else [name])]

    found = dict(claim)
    for field, lists in _LISTS.items():
        if lists is None and field in found:
            found[field] = names(found[field])
        elif lists is not None and isinstance(found.get(field), Mapping):
            found[field] = {k: names(v) if k in lists else v for k, v in found[field].items()}
    return found
