from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from flows.memory import Memory, by_session, kills

HOLD = "import sys, time; x = bytearray(120_000_000); print('held', flush=True); sys.stdin.read()"


def test_a_sessions_processes_are_summed_up_with_those_they_started() -> None:
    parent = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", parent, HOLD], start_new_session=True, **pipes)  # type: ignore[call-overload]
    memory = Memory()
    memory.follow(process.pid)
    try:
        assert process.stdout.readline() == b"held\n"
        until = time.monotonic() + 20
        while memory.now(process.pid) < 110 and time.monotonic() < until:
            time.sleep(0.05)
        assert 110 < memory.now(process.pid) < 400
    finally:
        process.communicate(b"")
    assert 110 < memory.forget(process.pid) < 400
    assert memory.now(process.pid) == 0.0
    assert process.pid not in by_session()


def test_the_kernels_counters_of_kills_are_read_where_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("nr_free_pages 1\noom_kill 3\n")
    (tmp_path / "events").write_text("low 0\noom 4\noom_kill 2\noom_group_kill 9\n")
    assert kills((tmp_path / "vmstat", tmp_path / "events", tmp_path / "none")) == 5
    assert kills() >= 0
