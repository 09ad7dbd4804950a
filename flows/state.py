"""Files that runs keep beside data/ and that a fault may leave unreadable: dvc.lock, and the database that MLflow shows.

Both are made again from what else is there: dvc.lock by the next run, from DVC's run cache; the database from data/records/.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from flows import lockfile
from flows.tracking import store
from stages.common import plan
from stages.common.errors import UserError
from stages.common.workspace import Workspace


def damaged(root: Path) -> Iterator[tuple[Path, str]]:
    """(file, what is wrong with it) of each that cannot be read. A database's text or number that changed is not seen."""
    for path, problem in ((root / "dvc.lock", lockfile.problem), (_database(root), store.damage)):
        if path is not None and path.is_file() and (why := problem(path)):
            yield path, why


def beside(path: Path) -> list[Path]:
    """The file, and what belongs to it: of a database its journals."""
    return [path, *(p for p in (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")) if p.exists())]


def _database(root: Path) -> Path | None:
    tracking = plan.TrackingPlan()
    with contextlib.suppress(UserError):  # a plan that cannot be read is told where it is needed
        tracking = plan.load(root / "params.yaml").tracking
    return store.database(Workspace(root), tracking)
