"""`prelude serve` killed at random moments: all that it started dies with it, and the next one brings everything up to date."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows import toy
from tests.flows.trouble import ROOT, command_line, descendants, gone

KILLS = 8
SERVE = [sys.executable, "-m", "flows.cli", "serve", "nightly", "--interval", "15", "--port", "0"]


def serve(project: Path, log: Path) -> subprocess.Popen[bytes]:
    environment = {**toy.environment(), "PYTHONPATH": str(ROOT), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    with log.open("wb") as file:
        return subprocess.Popen(
            SERVE, cwd=project, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


@pytest.mark.soak
def test_a_served_schedule_killed_at_random_moments(tmp_path: Path) -> None:
    project, log = toy.create(tmp_path / "p"), tmp_path / "said"
    (project / "slow.py").write_text("import time\ntime.sleep(1)\n" + toy.MAKE)
    (project / "dvc.yaml").write_text(toy.PIPELINE.replace("make.py", "slow.py"))
    shutil.copy(ROOT / "prefect.yaml", project)
    draw, at_work = random.Random("kill serve"), 0
    for number in range(KILLS):
        toy.parameters(project, a=1 + number, b=2)
        process = serve(project, log)
        if number % 2:  # at any moment
            time.sleep(draw.uniform(1, 45))
        else:  # at one while a stage's command is at work, which takes a second
            end = time.monotonic() + 120
            while not any("slow.py" in command_line(pid) for pid in descendants(process.pid)):
                assert time.monotonic() < end and process.poll() is None, log.read_text()
                time.sleep(0.05)
            time.sleep(draw.uniform(0, 0.5))
        below = descendants(process.pid)
        at_work += any("slow.py" in command_line(pid) for pid in below)
        process.kill()
        process.wait()
        end = time.monotonic() + 15
        while not all(gone(pid) for pid in below) and time.monotonic() < end:
            time.sleep(0.1)
        assert all(gone(pid) for pid in below), [command_line(pid) for pid in below if not gone(pid)]
    process = serve(project, log)
    try:
        end = time.monotonic() + 180
        while not _up_to_date(project):
            assert time.monotonic() < end and process.poll() is None, log.read_text()
            time.sleep(2)
    finally:
        below = descendants(process.pid)
        process.kill()
        process.wait()
    assert (project / "data/counted/all.txt").read_text() == "base\n" * 2
    assert "Traceback" not in log.read_text()
    sys.stdout.write(f"{KILLS} kills, {at_work} of them while a command ran\n")


def _up_to_date(project: Path) -> bool:
    """Asked of DVC while no run holds its lock."""
    command = [sys.executable, "-m", "dvc", "status", "-q"]
    return subprocess.run(command, cwd=project, env=toy.environment(), capture_output=True).returncode == 0
