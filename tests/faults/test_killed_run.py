"""`prelude run` itself killed at random moments: no orphan is left, and the next run ends as an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from flows.pipeline import run
from tests.flows import toy
from tests.flows.trouble import Background, descendants, gone

KILLS = 30
PIPELINE = toy.PIPELINE.replace("python make.py", "python slow.py")
SLOW = "import time\ntime.sleep(0.2)\n" + toy.MAKE


def made(folder: Path) -> Path:
    project = toy.create(folder, PIPELINE.replace("make.py,", "slow.py,"))
    (project / "slow.py").write_text(SLOW)
    return project


@pytest.mark.soak
def test_a_run_killed_at_thirty_random_moments(tmp_path: Path) -> None:
    whole = made(tmp_path / "whole")
    started = time.monotonic()
    with Background(whole, "--no-prefect") as undisturbed:
        assert undisturbed.end() == 0, undisturbed.said()
    took, expected = time.monotonic() - started, toy.outputs(whole)
    project, draw = made(tmp_path / "killed"), random.Random("kill a run")
    for number in range(KILLS):
        toy.parameters(project, a=1 + number, b=2)  # `a` and all that follows it are to be made again
        with Background(project, "--no-prefect") as killed:
            time.sleep(draw.uniform(0.05, took))
            below = descendants(killed.process.pid)
            os.kill(killed.process.pid, signal.SIGKILL)
            killed.process.wait()
            end = time.monotonic() + 5
            while not all(gone(pid) for pid in below) and time.monotonic() < end:
                time.sleep(0.02)
            assert all(gone(pid) for pid in below), "an orphan lives on"
        assert run(root=project, prefect=False, say=lambda line: None).ok
        assert "up to date" in toy.dvc(project, "status")
    toy.parameters(project, a=1, b=2)
    assert run(root=project, prefect=False, say=lambda line: None).ok
    assert toy.outputs(project) == expected
    assert not list(project.rglob(".dvc.lock.*"))
