"""Memory that running commands hold, and whether the kernel killed a process for want of it.

A command leads a session; what all its processes hold privately is summed up, with the sessions that they started: the ranks of
a pretraining lead one each. Pages shared with the fork server (its imported
libraries) are nobody's: counting them for each process would say 300 MiB where 20 are held.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

INTERVAL_S = 0.5
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Memory:
    """`follow` a session's leader; `now` and `peak` in MiB."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._now: dict[int, float] = {}
        self._peak: dict[int, float] = {}
        self._thread: threading.Thread | None = None

    def follow(self, leader: int) -> None:
        with self._lock:
            self._now[leader], self._peak[leader] = 0.0, 0.0
            self._wake.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="prelude-memory", daemon=True)
                self._thread.start()

    def now(self, leader: int) -> float:
        return self._now.get(leader, 0.0)

    def forget(self, leader: int) -> float:
        """Ends following; returns the peak."""
        with self._lock:
            self._now.pop(leader, None)
            return self._peak.pop(leader, 0.0)

    def _watch(self) -> None:
        while True:
            self._wake.wait()
            held = by_session()
            with self._lock:
                for leader in self._now:
                    self._now[leader] = held.get(leader, 0.0)
                    self._peak[leader] = max(self._peak[leader], self._now[leader])
                if not self._now:
                    self._wake.clear()
            threading.Event().wait(INTERVAL_S)


def by_session(processes: Path = Path("/proc")) -> dict[int, float]:
    """MiB held privately, by session, with the sessions that its processes started. Empty where there is no /proc."""
    held: dict[int, float] = {}
    parents: dict[int, int] = {}
    sessions: dict[int, int] = {}
    for folder in processes.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended while we looked
            process, stat = int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()
            _, resident, shared = (folder / "statm").read_text().split()[:3]
            parents[process], sessions[process] = int(stat[1]), int(stat[3])
            held[sessions[process]] = held.get(sessions[process], 0.0) + (int(resident) - int(shared)) * _PAGE_MB
    whole = dict(held)
    for session, amount in held.items():
        above = sessions.get(parents.get(session, 0), 0)
        if above and above != session:
            whole[above] = whole.get(above, 0.0) + amount
    return whole


def kills(counters: tuple[Path, ...] = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))) -> int:
    """How many processes the kernel has killed for want of memory so far, on this machine and in this control group."""
    total = 0
    for path in counters:
        with contextlib.suppress(OSError, ValueError):
            total += sum(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("oom_kill "))
    return total
