"""2,000 tiny stages under random kills of workers and runners, 200 synchronisations: nothing is lost, and memory stays flat."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flows import toy
from tests.flows.trouble import ROOT, descendants

ITEMS, ROUNDS = 48, 40  # with the two that follow, 50 stages a round
LIMIT_S = 3600
# One process runs round after round, as a served schedule does, and says after each what it holds.
RUNNER = r"""
import sys
from pathlib import Path
from flows.pipeline import run
from tests.flows import toy

root = Path(sys.argv[1])
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    (root / "source.txt").write_text(f"round {number}\n")
    toy.parameters(root, **{f"item_{i}": 1 + number for i in range(int(sys.argv[4]))})
    with (root / "params.yaml").open("a") as file:
        file.write("compute: {retries: 30, retry_delay_s: 0.05}\n")  # kills come thick
    outcome = run(root=root, prefect=False, keep_going=True, say=lambda line: None)
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    print(number, len(outcome.ran), len(outcome.failed), held.split()[1], flush=True)
    if not outcome.ok:
        sys.exit(1)
"""
MAKE = r"""
import pathlib, random, sys, time
out, given = pathlib.Path(sys.argv[1]), [pathlib.Path(p) for p in sys.argv[2:]]
files = [f for p in given for f in (sorted(q for q in p.rglob("*") if q.is_file()) if p.is_dir() else [p])]
text = "".join(f.read_text() for f in files)
out.mkdir(parents=True, exist_ok=True)
with open(out / "all.txt", "w") as file:  # written in halves, so that a kill can fall between them
    file.write(text[: len(text) // 2])
    file.flush()
    time.sleep(random.uniform(0, 0.2))
    file.write(text[len(text) // 2 :])
with open("ran.log", "a") as log:
    log.write(out.name + "\n")
"""


@pytest.mark.soak
def test_two_thousand_stages_under_random_kills_lose_nothing(tmp_path: Path) -> None:
    project = toy.create(tmp_path / "p")
    (project / "make.py").write_text(MAKE)
    draw, started, next_round = random.Random("soak"), time.monotonic(), 0
    kills = restarts = 0
    held: list[int] = []
    while next_round < ROUNDS:
        assert time.monotonic() - started < LIMIT_S, f"round {next_round} of {ROUNDS}"
        arguments = [str(project), str(next_round), str(ROUNDS), str(ITEMS)]
        with subprocess.Popen(
            [sys.executable, "-c", RUNNER, *arguments],
            cwd=project,
            env={**toy.environment(), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as runner:
            assert runner.stdout is not None
            os.set_blocking(runner.stdout.fileno(), False)
            said = ""
            until = time.monotonic() + draw.uniform(20, 90)  # then the runner itself is killed
            while runner.poll() is None:
                time.sleep(draw.uniform(0.1, 1.0))
                with contextlib.suppress(TypeError):
                    said += runner.stdout.read() or ""
                if time.monotonic() > until:
                    runner.kill()
                    restarts += 1
                    break
                if victims := [pid for pid in descendants(runner.pid) if _is_command(pid)]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(draw.choice(victims), signal.SIGKILL)
                        kills += 1
            assert runner.wait() in (0, -signal.SIGKILL), said
            with contextlib.suppress(TypeError):
                said += runner.stdout.read() or ""
        rounds = [[int(word) for word in line.split()] for line in said.splitlines() if len(line.split()) == 4]
        for number, _, failed, memory in rounds:
            next_round = number + 1
            assert failed == 0, f"round {number}: a stage was killed more often than it is tried"
            held.append(memory)
    last_round = f"round {ROUNDS - 1}\n"
    for i in range(ITEMS):
        assert (project / f"data/items/item_{i}/all.txt").read_text() == last_round
    assert (project / "data/counted/all.txt").read_text() == last_round * ITEMS
    assert "up to date" in toy.dvc(project, "status")
    ran, quarter = len(toy.ran(project)), len(held) // 4
    first, last = statistics.median(held[:quarter]), statistics.median(held[-quarter:])
    figures = (
        f"{ran} stages in {time.monotonic() - started:.0f} s, {kills} workers and {restarts} runners killed; the runner held "
    )
    sys.stdout.write(f"{figures}{first / 1024:.0f} MiB in the first quarter of rounds, {last / 1024:.0f} in the last\n")
    assert ran >= 2000 and kills > 100
    assert last < 1.1 * first


def _is_command(pid: int) -> bool:
    """Whether the process makes an output: not the fork server, whose loss is another test's."""
    with contextlib.suppress(OSError):
        return b"make.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


SYNCHRONISATIONS = 200
TRACKER = """
import sys
from pathlib import Path
from flows.tracking import sync
from stages.common.workspace import Workspace
from tests.flows import workspace as build

workspace, plan = Workspace(Path(sys.argv[1])), build.make_plan()
build.populate(workspace, plan)
for number in range(int(sys.argv[2])):
    key, folder = f"n{number}", workspace.data / "reports" / f"n{number}"
    build.node(workspace, "evaluate", key, None, folder, {}, {"result.json": {"claims": []}})
    done = sync.replay(workspace, plan, run_name=key)
    assert not done.problems and len(done.logged) == (1 if number else len(done.logged)), done
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    print(held.split()[1])
"""


@pytest.mark.soak
def test_two_hundred_synchronisations_of_one_process_hold_no_more_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TRACKER, str(tmp_path), str(SYNCHRONISATIONS)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    held = [int(line) for line in done.stdout.split()]
    first, last = (statistics.median(part) / 1024 for part in (held[: len(held) // 4], held[-len(held) // 4 :]))
    sys.stdout.write(f"{len(held)} synchronisations: {first:.0f} MiB in the first quarter, {last:.0f} in the last\n")
    assert len(held) == SYNCHRONISATIONS and last < 1.1 * first
