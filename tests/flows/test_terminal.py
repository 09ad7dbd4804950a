"""A whole run under a pseudo-terminal: what it shows, and that the terminal is left as it was, also after Ctrl+C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows import toy

ROOT = Path(__file__).parents[2]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
RUN = """
import sys
from pathlib import Path
from flows import worker
from flows.pipeline import run
worker.PRELOAD = ["stages.common.stage"]
outcome = run(root=Path(sys.argv[1]), prefect=False)
sys.exit(0 if outcome.ok else 130)
"""


class Terminal:
    """A run on a pseudo-terminal of 80 columns and 24 lines; `text` is all that it has written."""

    def __init__(self, project: Path, **environment: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(slave)
        clean = {k: v for k, v in toy.environment().items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(project)],
            cwd=ROOT,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=clean | {"TERM": "xterm"} | environment,
            start_new_session=True,
        )
        self.slave, self.text = slave, ""

    def until(self, wanted: str = "", seconds: float = 60.0) -> str:
        """Reads until that is shown; without it until the run ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (wanted and wanted in self.text):
            over = self.process.poll() is not None
            if select.select([self.master], [], [], 0.1)[0]:
                self.text += os.read(self.master, 65536).decode(errors="replace")
            elif over:
                break
        assert wanted in self.text, self.text
        return self.text

    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture
def project(project: Path) -> Path:
    """The toy project, tracked at an address where nothing answers: opening a database would take seconds."""
    params = project / "params.yaml"
    params.write_text(params.read_text() + "tracking: {uri: 'http://127.0.0.1:9'}\n")
    return project


@contextlib.contextmanager
def terminal(project: Path, **environment: str) -> Iterator[Terminal]:
    opened = Terminal(project, **environment)
    try:
        yield opened
    finally:
        opened.close()


def slow(project: Path, what: str, seconds: float) -> None:
    """Has the command that makes `what` print a warning and take its time; interrupted, it says so."""
    code = (
        "import signal, sys, time\nsignal.signal(signal.SIGINT, lambda *_: (print('tidied up', flush=True), sys.exit(130)))\n"
    )
    code += f"if {what!r} in sys.argv[1]: print('a warning', flush=True); time.sleep({seconds})\n"
    (project / "make.py").write_text(code + toy.MAKE)


def test_a_run_shows_its_stages_in_a_table_and_ends_with_a_summary(project: Path) -> None:
    slow(project, "joined", 1.2)
    with terminal(project) as shown:
        shown.until()
        assert shown.process.wait(timeout=10) == 0
        after, plain = termios.tcgetattr(shown.slave), shown.plain()
    assert re.search(r"join +running +1 s", plain)
    assert HIDE in shown.text and shown.text.rindex(SHOW) > shown.text.rindex(HIDE)
    assert after == shown.before
    assert plain.count("  join | a warning") == 1
    last = plain[plain.rindex("stage ") :]  # the table as it stays
    for name in ("make@a", "make@b", "join", "count"):
        assert re.search(rf"^{name} +ran +\d+\.\d s", last, re.MULTILINE), last
    assert "4 ran, 0 cached in " in last and "slowest: " in last
    assert "Traceback" not in plain
    with terminal(project) as again:  # nothing to do: no table
        again.until("0 ran, 4 cached")
        assert HIDE not in again.text and "stage " not in again.plain()


def test_an_interrupted_run_gives_the_terminal_back(project: Path) -> None:
    slow(project, "joined", 60)
    with terminal(project) as shown:
        shown.until("a warning")
        os.kill(shown.process.pid, signal.SIGINT)
        shown.until()
        assert shown.process.wait(timeout=10) == 130
        assert termios.tcgetattr(shown.slave) == shown.before
        plain = shown.plain()
    assert shown.text.rindex(SHOW) > shown.text.rindex(HIDE)
    last = plain[plain.rindex("stage ") :]
    assert re.search(r"^join +stopped ", last, re.MULTILINE) and "1 not started" in last
    assert "2 ran" in last and "interrupted; run it again to go on" in last
    assert "Traceback" not in plain and plain.count("  join | tidied up") == 1
    assert (project / ".prelude/logs/join/join.log").read_text() == "a warning\ntidied up\n"


def test_no_colour_and_a_dumb_terminal_are_honoured(project: Path) -> None:
    with terminal(project, NO_COLOR="1") as shown:
        shown.until()
    assert HIDE in shown.text and not re.search(r"\x1b\[[\d;]*3[0-7]", shown.text)
    (project / "source.txt").write_text("changed\n")
    with terminal(project, TERM="dumb") as shown:
        shown.until()
    text = shown.text.removesuffix("\x1b[0m")  # a reset at exit, of a library that DVC starts
    assert "\x1b" not in text and re.search(r"^make@a +ran ", text, re.MULTILINE)
    assert "Collecting files" not in shown.text
