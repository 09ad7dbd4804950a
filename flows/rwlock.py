"""DVC's list of which process reads and writes what (.dvc/tmp/rwlock), mended where a kill has cut it short."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvc.repo import Repo


def mend(repo: Repo) -> None:
    """Takes the list away where it cannot be read. DVC writes it in place, and refuses everything from then on.

    Those that it named are dead, or notice nothing: DVC looks there before a command, not while it runs. DVC's lock is held.
    """
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    path = Path(repo.tmp_dir or "") / RWLOCK_FILE
    if _whole(path):
        return
    with make_lock(str(path.with_name(RWLOCK_LOCK)), tmp_dir=repo.tmp_dir, hardlink_lock=False):
        if not _whole(path):  # nobody was writing it just then
            path.unlink(missing_ok=True)


def _whole(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False
