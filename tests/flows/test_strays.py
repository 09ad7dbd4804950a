from __future__ import annotations

import os
from pathlib import Path

from flows.strays import strays
from stages.common.workspace import Workspace


def _write(path: Path, at: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (at, at))


def test_what_changed_beside_the_outputs_at_work_is_named(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    _write(tmp_path / "data/items/mine/a", 20.0)
    _write(tmp_path / "data/items/old/a", 5.0)
    _write(tmp_path / "data/items/finished/a", 14.0)
    _write(tmp_path / "data/.gitignore", 20.0)
    outputs = {"data/items/mine": float("inf"), "data/items/finished": 15.0}
    assert strays(workspace, 10.0, outputs) == []
    _write(tmp_path / "data/items/old/b", 11.0)
    _write(tmp_path / "data/items/finished/b", 16.0)
    assert strays(workspace, 10.0, outputs) == ["data/items/finished/b", "data/items/old/b"]
    assert strays(workspace, 12.0, outputs) == ["data/items/finished/b"]


def test_at_most_three_are_named_and_no_folder_is_no_stray(tmp_path: Path) -> None:
    assert strays(Workspace(tmp_path), 0.0, {}) == []
    for name in "abcde":
        _write(tmp_path / "data" / name, 20.0)
    assert strays(Workspace(tmp_path), 10.0, {}) == ["data/a", "data/b", "data/c"]
