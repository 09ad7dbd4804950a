"""One run at a time in a workspace; a second one waits, or says who is at work."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator

from stages.common.errors import UserError
from stages.common.workspace import Workspace


class Busy(UserError):
    """Another run is at work in the workspace."""


@contextlib.contextmanager
def alone(workspace: Workspace, title: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the workspace; the lock is the system's, so it dies with its holder. Raises Busy naming who holds it."""
    path = workspace.state / "locks" / "run.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            what = f"another run is at work in this workspace{_holder(file.read())}"
            raise Busy(what, where=workspace.root, do="wait for it, with `prelude run --wait` if you like") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "title": title, "since": time.strftime("%H:%M:%S")}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(text: str) -> str:
    try:
        who = json.loads(text)
        return f": {who['title']!r}, process {who['pid']}, since {who['since']}"
    except (ValueError, KeyError, TypeError):
        return ""
