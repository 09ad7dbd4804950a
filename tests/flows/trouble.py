"""Toy stages that misbehave, and runs in processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from tests.flows import toy

ROOT = Path(__file__).parents[2]


def misbehave(project: Path, output: str, code: str) -> None:
    """The toy command that makes data/<output> runs `code` first."""
    body = textwrap.indent(textwrap.dedent(code), "    ")
    head = f"import os, signal, subprocess, sys, time\nfrom pathlib import Path\nif sys.argv[1] == 'data/{output}':\n{body}\n"
    (project / "make.py").write_text(head + toy.MAKE)


def behave(project: Path) -> None:
    (project / "make.py").write_text(toy.MAKE)


def compute(project: Path, text: str) -> None:
    """Adds a compute section, in YAML's flow style, to the plan."""
    with (project / "params.yaml").open("a") as file:
        file.write(f"compute: {text}\n")


class Background:
    """`prelude run` in a process group of its own, as a terminal starts it."""

    def __init__(self, folder: Path, *words: str, environment: dict[str, str] | None = None) -> None:
        env = {**toy.environment(), "PYTHONPATH": str(ROOT), **(environment or {})}
        command = [sys.executable, "-m", "flows.cli", "run", *words]
        self.file = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in __exit__
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=self.file, stderr=subprocess.STDOUT, start_new_session=True
        )

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()  # its stages die with it
        self.process.wait()
        self.file.close()

    def said(self) -> str:
        self.file.seek(0)
        return self.file.read()

    def end(self, seconds: float = 120) -> int:
        return self.process.wait(seconds)

    def until(self, happened: Callable[[], object], seconds: float = 120) -> None:
        """Waits. Raises AssertionError with what the run said, if that comes to nothing."""
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end and self.process.poll() is None, self.said()
            time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process is no more, or only its exit code waits for a parent."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def descendants(pid: int) -> list[int]:
    """The processes below one, its forkserver's included."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        mine = [child for child, parent in parents.items() if parent == one]
        found += mine
        todo += mine
    return found


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def interrupt(run: Background, number: int) -> None:
    """SIGINT goes to the whole group, as Ctrl+C does; any other signal to the process alone."""
    if number == signal.SIGINT:
        os.killpg(run.process.pid, number)
    else:
        run.process.send_signal(number)
