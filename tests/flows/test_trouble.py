"""What goes wrong with stages, with real processes: each failure is named, nothing of it is committed, a re-run completes."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import worker
from flows.memory import kills
from flows.pipeline import Outcome, run
from stages.common.errors import UserError
from tests.flows import toy
from tests.flows.trouble import Background, behave, compute, misbehave

MEMORY = Path("/sys/fs/cgroup/memory")


def _run(root: Path, **more: Any) -> tuple[Outcome, str]:
    lines: list[str] = []
    outcome = run(root=root, prefect=False, say=lines.append, **more)
    return outcome, "\n".join(lines)


def _completes(project: Path) -> None:
    behave(project)
    assert _run(project)[0].ok
    assert (project / "data/counted/all.txt").read_text() == "base\nbase\n"
    assert "up to date" in toy.dvc(project, "status")


def test_a_stage_that_writes_nothing_fails_by_the_name_of_its_output(project: Path) -> None:
    misbehave(project, "joined", "sys.exit(0)")
    outcome, said = _run(project)
    assert (outcome.failed, outcome.skipped) == (["join"], ["count"])
    assert "data/joined" in said and "does not exist" in said
    _completes(project)


def test_a_stage_that_writes_outside_its_outputs_fails_and_spoils_nothing(project: Path) -> None:
    misbehave(project, "joined", "Path('data/items/a/more.txt').write_text('x')\nPath('data/beside.txt').write_text('x')")
    outcome, said = _run(project)
    assert outcome.failed == ["join"]
    assert "wrote outside its outputs: data/beside.txt, data/items/a/more.txt" in said
    _completes(project)
    assert not (project / "data/items/a/more.txt").exists()


def test_a_stage_that_hangs_is_stopped_and_tried_again_each_time_after_a_longer_wait(project: Path) -> None:
    compute(project, "{needs: {join: {time_limit_s: 1.0}}, retry_delay_s: 0.1, retries: 2}")
    misbehave(project, "joined", "open('tries', 'a').write('x')\ntime.sleep(60)")
    outcome, said = _run(project)
    assert outcome.failed == ["join"] and "time limit of 1 s" in said
    assert re.findall(r"tried again in (\S+) s", said) == ["0.1", "0.2"]
    assert (project / "tries").read_text() == "xxx"
    _completes(project)


KILLED = "was ended by signal 9; its processes held "
WORKER = "os.getsid(0)"  # whose child the command is, or its shell's
SERVER = f"int(Path(f'/proc/{{{WORKER}}}/stat').read_text().rpartition(')')[2].split()[1])"  # from which workers are forked


@pytest.mark.parametrize(
    ("victim", "why"),
    [("os.getpid()", KILLED), (WORKER, KILLED), (SERVER, "its process was lost")],
    ids=["command", "worker", "server"],
)
def test_a_killed_process_is_tried_again_but_a_users_mistake_is_not(project: Path, victim: str, why: str) -> None:
    compute(project, "{retry_delay_s: 0.1}")
    once = "open('tries', 'a').write('x')\nif Path('tries').stat().st_size < 3:\n"
    misbehave(project, "joined", once + f"    os.kill({victim}, signal.SIGKILL)")
    outcome, said = _run(project)
    assert outcome.ok and (project / "tries").read_text() == "xxx", said
    assert why in said

    misbehave(project, "joined", "open('mistakes', 'a').write('x')\nprint('error: a column is missing')\nsys.exit(2)")
    outcome, said = _run(project)
    assert outcome.failed == ["join"] and "a column is missing" in said
    assert (project / "mistakes").read_text() == "x"


def test_keep_going_finishes_every_other_branch_and_fail_fast_starts_nothing_new(project: Path) -> None:
    toy.parameters(project, a=1, b=2, c=3)
    misbehave(project, "items/a", "print('error: no such file')\nsys.exit(2)")
    outcome, said = _run(project, workers=1)
    assert (outcome.ran, outcome.failed) == ([], ["make@a"]) and len(outcome.skipped) == 4
    assert "not started after make@a failed; --keep-going would" in said
    outcome, said = _run(project, workers=1, keep_going=True)
    assert (outcome.ran, outcome.failed, outcome.skipped) == (["make@b", "make@c"], ["make@a"], ["join", "count"])
    assert "no such file" in said and "needs make@a, which failed" in said
    assert "make@b" in (project / "dvc.lock").read_text()


@contextlib.contextmanager
def group(limit_mb: int) -> Iterator[Path]:
    """A memory control group of that size, for a process that moves into it; skips where there can be none."""
    made = MEMORY / f"prelude-test-{os.getpid()}"
    try:
        made.mkdir()
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):  # no swap either, where it is counted
            if (made / name).exists():
                (made / name).write_text(str(limit_mb << 20))
    except OSError as error:
        pytest.skip(f"no memory control group can be made here: {error}")
    try:
        yield made
    finally:
        made.rmdir()


def test_a_stage_that_the_kernel_kills_for_memory_is_said_to_be_that(project: Path) -> None:
    compute(project, "{retries: 0}")
    with group(limit_mb=96) as limited:
        fill = f"Path({str(limited / 'cgroup.procs')!r}).write_text(str(os.getpid()))\n"
        fill += "held = []\nwhile len(held) < 80:\n    held.append(bytearray(b'x') * (4 << 20)); time.sleep(0.05)\n"
        misbehave(project, "joined", fill)
        outcome, said = _run(project)
    assert outcome.failed == ["join"]
    assert "the kernel killed it for want of memory" in said
    (peak,) = set(re.findall(r"its processes held (\d+) MiB at most", said))  # said at once, and again at the end
    assert 40 < int(peak) < 500  # the worker's own pages and its shell's count too
    _completes(project)


def test_where_no_group_can_be_made_a_counter_stands_for_the_kernels(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second best: the process is killed by us, and a file that counts so stands for the kernel's counter."""
    counter = tmp_path / "vmstat"
    counter.write_text("oom_kill 3\n")
    monkeypatch.setattr(worker, "kills", lambda: kills((counter,)))
    compute(project, "{retries: 0}")
    end = f"Path({str(counter)!r}).write_text('oom_kill 4')\nos.kill(os.getpid(), signal.SIGKILL)"
    misbehave(project, "joined", end)
    outcome, said = _run(project)
    assert outcome.failed == ["join"] and "the kernel killed it for want of memory; its processes held" in said


@pytest.mark.slow
def test_beside_a_run_another_run_and_dvc_repro_are_refused_and_nothing_is_mixed(project: Path) -> None:
    misbehave(project, "joined", "open('waiting', 'w').close()\nwhile not Path('go').exists(): time.sleep(0.05)")
    with Background(project, "--no-prefect") as first:
        first.until((project / "waiting").exists)
        with pytest.raises(UserError, match=rf"another run .*'everything', process {first.process.pid}, since"):
            _run(project)
        words = ["dvc", "repro", "-f", "join"]
        other = subprocess.run(words, cwd=project, env=toy.environment(), capture_output=True, text=True)
        assert other.returncode != 0 and "is busy" in other.stderr and "join" in other.stderr
        assert not (project / "data/joined").exists()
        (project / "go").touch()
        assert first.end() == 0, first.said()
        assert "4 ran" in first.said()
    assert sorted(toy.ran(project)) == ["a", "b", "counted", "joined"]
    assert "up to date" in toy.dvc(project, "status")


def test_a_run_beside_dvc_repro_is_refused_by_what_is_busy_and_completes_later(project: Path) -> None:
    misbehave(project, "joined", "open('waiting', 'w').close()\nwhile not Path('go').exists(): time.sleep(0.05)")
    other = subprocess.Popen(["dvc", "repro"], cwd=project, env=toy.environment(), stdout=-1, stderr=-1)
    try:
        while not (project / "waiting").exists():
            assert other.poll() is None
        with pytest.raises(UserError, match=r"data/joined' is busy(.|\n)*dvc repro(.|\n)*do: wait for the other DVC"):
            _run(project)
        (project / "go").touch()
        other.communicate(timeout=60)
        assert other.returncode == 0
    finally:
        other.kill()
        other.wait()
    assert _run(project)[0].ran == []
    assert sorted(toy.ran(project)) == ["a", "b", "counted", "joined"]
    assert "up to date" in toy.dvc(project, "status")
