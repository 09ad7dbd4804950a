"""dvc.lock, written whole or not at all: DVC writes it in place, and killed meanwhile leaves half a file for nobody to read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.common import atomic

HASHES = ("md5", "md5-dos2unix", "etag", "checksum")  # what DVC can compute or ask for; any other makes it raise

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage


def write(repo: Repo, path: Path, stages: Sequence[Stage]) -> None:
    """Puts the entries of stages into the file, as DVC would; what it holds of others stays. DVC's lock is held."""
    from dvc.stage.serialize import to_lockfile
    from dvc.utils.serialize import modify_yaml

    beside = path.with_name(f".{path.name}.new-{os.getpid()}")
    for stale in (*path.parent.glob(f".{path.name}.new-*"), *path.parent.glob(f".{path.name}.tmp-*")):
        stale.unlink(missing_ok=True)  # what a killed process left: the lock is ours
    try:
        if path.exists():
            shutil.copyfile(path, beside)
        with modify_yaml(str(beside), fs=repo.fs) as content:
            content.setdefault("schema", "2.0")  # first in the file
            entries = content.setdefault("stages", {})
            for stage in stages:
                entries.update(to_lockfile(stage))
        atomic.write_text(path, beside.read_text(encoding="utf-8"))
    finally:
        beside.unlink(missing_ok=True)
    repo.scm_context.track_file(os.path.relpath(path))


def problem(path: Path) -> str:
    """Why DVC could not go by the file; nothing where it can, or where there is none."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
    from voluptuous import Invalid

    try:
        content = parse_yaml(path.read_text(encoding="utf-8"), path)
        COMPILED_LOCKFILE_SCHEMA(content)
    except FileNotFoundError:
        return ""
    except (YAMLFileCorruptedError, Invalid, ValueError) as error:
        return f"it is damaged: {str(error).splitlines()[0]}"
    for name, entry in (content.get("stages") or {}).items():
        for item in (*(entry.get("deps") or []), *(entry.get("outs") or [])):
            kind = item.get("hash", "md5")
            if kind not in HASHES or not isinstance(item.get(kind, ""), str):
                return f"it is damaged: {name} names a hash {kind} {item.get(kind)!r}"
    return ""
