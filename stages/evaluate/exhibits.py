"""Pictures and sounds that heads made, carried from the tasks to the report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.common import atomic
from stages.common.errors import ContractError
from stages.common.schema import as_plain
from stages.evaluate.judged import Judged

FOLDER = "exhibits"
MOST_MB = 8  # of one system: the page holds them all


def collect(judged: Mapping[str, Judged], out: Path) -> list[dict[str, Any]]:
    """Copies each task's exhibits of its first seed to out/exhibits; says what each is and where its file lies.

    Raises ContractError where a file is missing, or where they are too large for a page.
    """
    found, size = [], 0
    for key, task in judged.items():
        first = min((e.seed for e in task.result.exhibits), default=0)
        for exhibit in task.result.exhibits:
            if exhibit.seed != first:
                continue
            source = task.folder / exhibit.file
            if exhibit.file not in atomic.manifest(task.folder)["files"]:
                raise ContractError("an exhibit has no file", where=source, do="run the fit again")
            size += source.stat().st_size
            file = f"{FOLDER}/{key}__{exhibit.file}"
            (out / FOLDER).mkdir(exist_ok=True)
            shutil.copyfile(source, out / file)
            found.append({**as_plain(exhibit), "task": key, "file": file})
    if size > MOST_MB << 20:
        raise ContractError(
            f"the exhibits take {size >> 20} MiB, a page holds {MOST_MB}", where=out, do="have the heads show fewer"
        )
    return found
