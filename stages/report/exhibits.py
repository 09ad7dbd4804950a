"""Pictures and sounds of a system as tables: one for each task, rows and columns by their place."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.common.errors import ContractError

_TYPES = {"picture": ("png", "image/png"), "sound": ("wav", "audio/wav")}


@dataclass(frozen=True)
class Gallery:
    """A task's exhibits. cells: {(row, column): exhibits, each with its `uri`}."""

    system: str
    task: str
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], list[dict[str, Any]]]


def read(folder: Path, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The exhibits of a system's result, with their content as data URIs. Raises ContractError where a file is missing."""
    found = []
    for exhibit in result.get("exhibits", ()):
        suffix, kind = _TYPES[exhibit["kind"]]
        path = folder / exhibit["file"]
        if path.suffix != f".{suffix}" or not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise ContractError("an exhibit's file is missing", where=path, do="run the evaluation again")
        content = base64.b64encode(path.read_bytes()).decode()
        found.append({**exhibit, "uri": f"data:{kind};base64,{content}"})
    return found


def galleries(exhibits: Mapping[str, list[dict[str, Any]]]) -> list[Gallery]:
    """One table per task, places in the order in which they came."""
    found = []
    for system, shown in exhibits.items():
        for task in dict.fromkeys(e["task"] for e in shown):
            own = [e for e in shown if e["task"] == task]
            cells: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for exhibit in own:
                cells.setdefault((exhibit["place"][0], exhibit["place"][1]), []).append(exhibit)
            rows, columns = (list(dict.fromkeys(e["place"][i] for e in own)) for i in (0, 1))
            found.append(Gallery(system, task, rows, columns, cells))
    return found
