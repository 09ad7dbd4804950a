from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from flows import memory
from flows.memory import Memory, by_session, kills

HOLD = "import sys, time; x = bytearray(120_000_000); print('held', flush=True); sys.stdin.read()"


def test_a_sessions_processes_are_summed_up_with_those_they_started() -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", parent, HOLD], start_new_session=True, **pipes)  # type: ignore[call-overload]
    watched = Memory()
    watched.follow(process.pid)
    try:
        assert process.stdout.readline() == b"held\n"
        until = time.monotonic() + 20
        while watched.now(process.pid) < 110 and time.monotonic() < until:
            time.sleep(0.05)
        assert 110 < watched.now(process.pid) < 400
    finally:
        process.communicate(b"")
    assert 110 < watched.forget(process.pid) < 400
    assert watched.now(process.pid) == 0.0
    assert process.pid not in by_session()


def test_memory_of_a_session_that_a_command_starts_is_the_commands(tmp_path: Path) -> None:
    for process, parent, session, pages in (
        (10, 1, 10, 300),
        (11, 10, 10, 200),
        (12, 11, 12, 1000),
        (13, 12, 12, 50),
        (20, 1, 20, 7),
    ):
        folder = tmp_path / str(process)
        folder.mkdir()
        (folder / "stat").write_text(f"{process} (a) b) S {parent} {process} {session} 0")
        (folder / "statm").write_text(f"9999 {pages + 5} 5 0")
    pages = {session: round(held / memory._PAGE_MB) for session, held in by_session(tmp_path).items()}
    assert pages == {10: 1550, 12: 1050, 20: 7}


def test_the_kernels_counters_of_kills_are_read_where_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 3\n")
    (tmp_path / "events").write_text("low 0\noom 4\noom_kill 2\noom_group_kill 9\n")
    assert kills((tmp_path / "vmstat", tmp_path / "events", tmp_path / "none")) == 5
    assert kills() >= 0
