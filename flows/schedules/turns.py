"""Whose turn it is: runs of one kind do not pile up, and a run that `prelude serve` started ends with it.

The locks are the system's, and die with their holder. Prefect's own limits keep their slots in the server's memory: a server
that is killed meanwhile would hold one back for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from collections.abc import Iterator

from flows.schedules import SERVING
from stages.common.process import die_with_parent
from stages.common.workspace import Workspace


@contextlib.contextmanager
def turn(workspace: Workspace, kind: str) -> Iterator[bool]:
    """Holds the turn of a kind of run, waiting ones included; yields False where an earlier one still has it."""
    path = workspace.state / "locks" / f"{kind}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def follow_server() -> None:
    """In a process that `prelude serve` started: dies with it; Ctrl+C is for that one, which sends SIGTERM once.

    It has kept SIGINT from us so far. A handler that does nothing, since what is ignored stays so in the stages, which are
    stopped by it.
    """
    server = os.environ.get(SERVING)
    if server and threading.current_thread() is threading.main_thread():
        if server != str(os.getppid()):
            os._exit(1)  # it was killed while this process started
        die_with_parent()
        signal.signal(signal.SIGINT, lambda number, frame: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
