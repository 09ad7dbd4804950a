"""Runs a stage's command in a warm process: forked from a server that has torch and pyarrow imported, it starts in 10 ms.

`python -m stages.<stage> <key>` is called as a function in such a process; any other command is run by a shell there. Either
way it has its own process group, its output goes to a log file and to the caller line by line, and it dies with this process.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from flows.memory import Memory, kills
from stages.common.process import die_with_owner

PRELOAD = ["numpy", "pyarrow", "pyarrow.parquet", "torch", "stages.common.stage"]
GRACE_S = 2.5  # a stopped command may tidy up for so long; the whole run is to stop within 5 s
_LOOK_S = 0.1
_STAGE = re.compile(r"stages\.(\w+)")
_context = multiprocessing.get_context("forkserver")
Say = Callable[[str], None]
memory = Memory()
_reaping = threading.Lock()  # a child's exit code can be read once, and starting another child reads those of all
_BEGUN = "\x06\n"  # what a process says first: all after it is the command's
_UNKNOWN = 255  # multiprocessing's code for a child whose end the server did not report
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGBUS, signal.SIGSEGV)
_KILLED = {128 + s for s in _SIGNALS}  # how a shell that stays tells that its command was ended so
running: dict[str, int] = {}  # the leaders' process ids, by the command's title


class Stopped(Exception):
    """The command was stopped because the run is being stopped."""


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    code: its exit code, or minus the signal that ended it. error: what it said last of an error. peak_mb: memory that its
    processes held at most. overtime: it was stopped at its time limit. starved: meanwhile the kernel killed a process for want
    of memory. lost: its process ended before the command began, or the server that knew its exit code ended.
    """

    code: int
    seconds: float
    log: Path
    error: str = ""
    peak_mb: float = 0.0
    overtime: bool = False
    starved: bool = False
    lost: bool = False


def warm(commands: Iterable[str]) -> None:
    """Starts the server; it imports what stages of ours need, if there are any, while the caller goes on."""
    from multiprocessing import forkserver

    _context.set_forkserver_preload([__name__, *(PRELOAD if any(map(stage_of, commands)) else ())])
    forkserver.ensure_running()


def run(
    command: str,
    root: Path,
    log: Path,
    say: Say = lambda line: None,
    environment: Mapping[str, str] | None = None,
    *,
    title: str = "",
    limit_s: float | None = None,
    stop: threading.Event | None = None,
) -> Finished:
    """Runs a command in the folder `root` and waits, at most `limit_s` seconds.

    When the wait is interrupted the command is stopped, then that is raised. Raises Stopped after `stop` was set.
    """
    started, title, before = time.monotonic(), title or command, kills()
    log.parent.mkdir(parents=True, exist_ok=True)
    output, child_output = _context.Pipe(duplex=False)
    process = _context.Process(
        target=_child, args=(command, str(root.absolute()), dict(environment or {}), child_output), name=command
    )
    lines: list[str] = []
    begun, overtime = threading.Event(), False
    try:
        with _reaping:
            process.start()
        child_output.close()
        leader = running[title] = process.pid or 0
        memory.follow(leader)
        with log.open("w", encoding="utf-8") as file:
            reader = threading.Thread(target=_read, args=(output, file.write, say, lines, begun), daemon=True)
            reader.start()
            try:
                while _ended(process, _LOOK_S) is None:
                    if stop is not None and stop.is_set():
                        raise Stopped(title)
                    if limit_s is not None and not overtime and time.monotonic() - started > limit_s:
                        overtime = True
                        _stop(process)
            except BaseException:
                _stop(process)
                reader.join(timeout=1)  # what it says last is in the log, too
                raise
            _kill(process.pid)  # what it left behind: nothing may write once its outputs are taken
            reader.join(timeout=5)
    except BaseException:
        _stop(process)
        raise
    finally:
        output.close()
        peak = memory.forget(running.pop(title, 0))
    code = _ended(process, 0.0) or (-signal.SIGKILL if overtime else 0)
    seconds = time.monotonic() - started
    error, starved = (last_error(lines), kills() > before) if code else ("", False)
    lost = code == _UNKNOWN or (bool(code) and not begun.is_set())
    return Finished(code, seconds, log, error, peak, overtime, starved, lost)


def held_mb(title: str) -> float:
    """The memory that a running command holds now, in MiB."""
    return memory.now(running[title]) if title in running else 0.0


def last_error(lines: list[str]) -> str:
    """The last block that starts with `error: `, else the last line of a traceback, else the last line."""
    starts = [i for i, line in enumerate(lines) if line.startswith("error: ")]
    if starts:
        end = starts[-1] + 1
        while end < len(lines) and lines[end].startswith(" "):
            end += 1
        return "\n".join(lines[starts[-1] : end]).removeprefix("error: ")
    return next((line for line in reversed(lines) if line.strip()), "")


def stage_of(command: str) -> tuple[str, list[str]] | None:
    """(stage, arguments) of `python -m stages.<stage> ...`, else None."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if len(words) < 3 or not Path(words[0]).name.startswith("python") or words[1] != "-m":
        return None
    found = _STAGE.fullmatch(words[2])
    return (found[1], words[3:]) if found and not set(command) & set("|&;<>$`\n") else None


def _stop(process: BaseProcess) -> None:
    """Interrupts the command's process group, so that it tidies up; kills what is left when it ended, or after GRACE_S."""
    if process.pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGINT)
        _ended(process, GRACE_S)
        _kill(process.pid)
        _ended(process, GRACE_S)


def _ended(process: BaseProcess, timeout: float) -> int | None:
    """The exit code of a process that ended within `timeout` seconds, None while it runs."""
    wait([process.sentinel], timeout)
    with _reaping:
        return process.exitcode


def _kill(pid: int | None) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _read(output: Connection, write: Callable[[str], object], say: Say, lines: list[str], begun: threading.Event) -> None:
    with os.fdopen(os.dup(output.fileno()), encoding="utf-8", errors="replace", newline="\n") as text:
        for line in text:
            if line == _BEGUN and not begun.is_set():
                begun.set()
                continue
            write(line)
            lines.append(line.rstrip("\n"))
            del lines[:-200]
            say(line.rstrip("\n"))


def _child(command: str, root: str, environment: Mapping[str, str], output: Connection) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where the run was started
    die_with_owner()
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    for text in (sys.stdout, sys.stderr):
        text.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(root)
    os.environ.update(environment)
    os.write(1, _BEGUN.encode())
    stage = stage_of(command)
    try:
        code = _call(*stage, root) if stage else _shell(command)
    except KeyboardInterrupt:
        code = 130
    if code < 0:  # ends as its command ended
        with contextlib.suppress(OSError):  # SIGKILL has no handler to take away
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _call(stage: str, arguments: list[str], root: str) -> int:
    """What `python -m stages.<stage>` does, in this process."""
    sys.path[0:0] = [root]
    sys.argv = [f"stages.{stage}", *arguments]
    try:
        return int(importlib.import_module(f"stages.{stage}.__main__").main(arguments) or 0)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1 if stop.code else 0
    except Exception:
        traceback.print_exc()
        return 1


def _shell(command: str) -> int:
    """Any other command, by the shell that DVC would use; the environment's own Python comes first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    for line in command.splitlines():
        done = subprocess.run([os.environ.get("SHELL") or "/bin/sh", "-c", line], env={**os.environ, "PATH": path}, check=False)
        if done.returncode:
            return -(done.returncode - 128) if done.returncode in _KILLED else done.returncode
    return 0
