"""A system at another size: `smoke` in seconds for tests, `paper` as published. The recipe itself is the size `small`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from stages.common.errors import UserError, unknown
from stages.common.plan import SECTIONS

SMALL, GRIDS = "small", "grids"
_SECTIONS = tuple(s for s in SECTIONS.values() if s != "systems")


def scaled(data: Mapping[str, Any], system: str, size: str) -> dict[str, Any]:
    """A system's plan at a size: the keys that `systems.<system>.scale.<size>.set` names, set to its values.

    A key is `encoders.vit_*.epochs`: the node may be a pattern. A part given with its name replaces the part that is there.
    `grids.<name>` replaces a grid.
    Raises UserError for a size that the system does not have, and for a key that names nothing.
    """
    whole: dict[str, Any] = copy.deepcopy(dict(data))
    if size == SMALL:
        return whole
    sizes = data["systems"][system].get("scale") or {}
    if size not in sizes:
        raise unknown("size", size, [SMALL, *sizes], where=f"params/system/{system}.yaml: scale")
    where = f"systems.{system}.scale.{size}.set"
    for key, value in (sizes[size].get("set") or {}).items():
        section, _, rest = str(key).partition(".")
        if section == GRIDS and rest in whole.get(GRIDS, {}):
            whole[GRIDS][rest] = copy.deepcopy(value)
            continue
        pattern, _, path = rest.partition(".")
        if section not in _SECTIONS:
            raise unknown("section", section, _SECTIONS, where=where)
        nodes = [name for name in whole.get(section, {}) if fnmatchcase(name, pattern)]
        if not nodes or not path:
            raise UserError(f"{key!r} names no key of a node", where=where, do="write <section>.<node or pattern>.<key>")
        for name in nodes:
            _put(whole[section][name], path.split("."), value, f"{where}: {key}")
    return whole


def _put(node: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    for word in path[:-1]:
        if node.get(word) is None:
            node[word] = {}
        node = node[word]
        if not isinstance(node, dict):
            raise UserError(f"{word!r} holds one value, no keys", where=where)
    node[path[-1]] = copy.deepcopy(value)
