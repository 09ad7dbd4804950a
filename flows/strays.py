"""Files that a command wrote in data/ beside its outputs: nobody tracks them, or they spoil what another stage made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from stages.common.workspace import Workspace

_SHOWN = 3


def strays(workspace: Workspace, since: float, outputs: Mapping[str, float]) -> list[str]:
    """Paths of files below data/, changed after `since`, that no stage at work may have changed: at most three of them.

    outputs: of all stages that this run has taken, with the time until which each may have been written. Hidden files are
    passed over (a writer's temporary folder, DVC's own).
    """
    until = {os.path.normpath(out): time for out, time in outputs.items()}
    found = []
    for path in _changed(workspace.data, since, until, workspace.root):
        found.append(path.relative_to(workspace.root).as_posix())
        if len(found) == _SHOWN:
            break
    return found


def _changed(folder: Path, since: float, until: Mapping[str, float], root: Path) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # gone meanwhile
        return
    for entry in entries:
        path = Path(entry.path)
        after = max(since, until.get(path.relative_to(root).as_posix(), since))
        if entry.name.startswith(".") or after == float("inf"):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _changed(path, after, until, root)
        elif entry.is_file(follow_symlinks=False) and _mtime(entry) > after:
            yield path


def _mtime(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
