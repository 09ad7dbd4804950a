from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.alone import alone
from stages.common.errors import UserError
from stages.common.workspace import Workspace

ROOT = Path(__file__).parents[2]
HOLD = """
import sys
from pathlib import Path
from flows.alone import alone
from stages.common.workspace import Workspace
with alone(Workspace(Path(sys.argv[1])), "nightly"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(root: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    return process


def test_a_second_run_is_told_who_is_at_work(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    told = rf"'nightly', process {process.pid}, since .*\n.*\n  do: .*--wait"
    with pytest.raises(UserError, match=told), alone(Workspace(tmp_path), "second"):
        pass
    process.communicate(b"")
    with alone(Workspace(tmp_path), "second"):
        pass


def test_it_may_wait_and_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    process = _holder(tmp_path)
    process.kill()
    started = time.monotonic()
    with alone(Workspace(tmp_path), "second", wait=True):
        assert time.monotonic() - started < 30
    process.communicate()
