"""Processes: none outlives its parent; seeds side by side give what seeds in turn give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common import process
from stages.common.errors import ContractError, UserError
from stages.common.process import per_seed
from stages.common.records import peak_memory_mb

Start = Callable[..., subprocess.Popen[str]]


def gone(pid: int, within: float = 10.0) -> bool:
    """Whether a process ends (or is a corpse that nobody has collected) within so many seconds."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


CHILD = """
import sys, time
from stages.common.process import die_with_parent
die_with_parent()
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_child_dies_when_its_parent_is_killed(python: Start) -> None:
    parent = python(PARENT, CHILD)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert not gone(child, within=0.2)
    os.kill(parent.pid, signal.SIGKILL)
    assert gone(child)


PANDAS = """
import sys
import pyarrow as pa
from stages.common.process import keep_pandas_out
keep_pandas_out()
pa.array([1, 2]), pa.table({"a": ["x"]}), pa.array([{"a": 1.0}])
print("pandas" in sys.modules)
frame = pa.table({"a": [1]}).to_pandas()
import pandas
print(type(frame) is pandas.DataFrame, pa.array(pandas.Series([3])).to_pylist())
"""


def test_arrow_leaves_pandas_alone_until_a_data_frame_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", PANDAS], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["False", "True [3]"]


def loads_pandas(seed: int) -> bool:
    import pyarrow as pa

    pa.array([seed])
    return "pandas" in sys.modules


def test_seeds_side_by_side_leave_pandas_alone() -> None:
    assert per_seed(loads_pandas, [0, 1], jobs=2) == [False, False]


def draw(seed: int, size: int) -> bytes:
    import torch

    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, size, generator=generator)
    return bytes((x @ x).softmax(1).numpy().tobytes())


def test_seeds_in_parallel_give_byte_for_byte_what_seeds_in_turn_give() -> None:
    serial = per_seed(draw, [3, 1, 2], 64, jobs=1)
    parallel = per_seed(draw, [3, 1, 2], 64, jobs=2)
    assert serial == parallel == [draw(3, 64), draw(1, 64), draw(2, 64)]
    assert len(set(serial)) == 3


def slow_first(seed: int) -> tuple[int, int]:
    time.sleep(0.3 if seed == 0 else 0)
    return seed, os.getpid()


def test_results_come_in_the_order_of_seeds_not_of_finishing() -> None:
    assert [seed for seed, _ in per_seed(slow_first, [0, 1, 2], jobs=2)] == [0, 1, 2]


def test_one_job_works_in_this_process() -> None:
    assert {pid for _, pid in per_seed(slow_first, [1, 2], jobs=1)} == {os.getpid()}
    assert per_seed(slow_first, [], jobs=2) == []


def threads(seed: int) -> tuple[int, set[int]]:
    import numpy  # noqa: F401  it brings a library of its own
    import torch
    from threadpoolctl import threadpool_info

    return torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_seed_has_the_threads_it_was_given(jobs: int) -> None:
    try:
        assert per_seed(threads, [0, 1], jobs=jobs, threads=2) == [(2, {2})] * 2
    finally:
        process.set_threads(1)
    assert threads(0) == (1, {1})


def fail(seed: int) -> int:
    if seed == 0:
        raise ContractError("column 'id' is missing", where="part-00000.parquet", do="run the ingest again")
    return seed


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_seed_arrives_whole(jobs: int) -> None:
    with pytest.raises(ContractError) as caught:
        per_seed(fail, [0, 1], jobs=jobs)
    assert (caught.value.where, caught.value.do) == ("part-00000.parquet", "run the ingest again")


def killed(seed: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return seed


def test_a_killed_worker_is_an_error_that_says_what_to_look_at() -> None:
    with pytest.raises(UserError) as caught:
        per_seed(killed, [4, 5], jobs=2)
    assert (caught.value.what, caught.value.where) == ("a worker process was killed", "seeds [4, 5]")


FAN = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import fan
from stages.common.process import per_seed
if __name__ == "__main__":
    per_seed(fan.work, [0, 1], sys.argv[1], jobs=2)
"""
FAN_WORK = """
import os, time
from pathlib import Path
def work(seed, folder):
    (Path(folder) / f"pid-{seed}").write_text(str(os.getpid()))
    time.sleep(60)
"""


def test_workers_die_when_the_stage_is_killed(tmp_path: Path, python: Start) -> None:
    (tmp_path / "fan.py").write_text(FAN_WORK)
    stage = python(FAN, tmp_path)
    files = [tmp_path / "pid-0", tmp_path / "pid-1"]
    end = time.monotonic() + 60
    while not all(f.exists() and f.read_text() for f in files) and time.monotonic() < end:
        time.sleep(0.05)
    pids = [int(f.read_text()) for f in files]
    os.kill(stage.pid, signal.SIGKILL)
    assert all(gone(pid) for pid in pids)


def fail_or_linger(seed: int, folder: Path) -> None:
    if seed == 0:
        while not (folder / "pid").exists():
            time.sleep(0.01)
        raise ContractError("column 'id' is missing")
    (folder / "pid.part").write_text(str(os.getpid()))
    (folder / "pid.part").rename(folder / "pid")
    time.sleep(30)


def test_the_first_error_stops_the_other_seeds(tmp_path: Path) -> None:
    with pytest.raises(ContractError):
        per_seed(fail_or_linger, [0, 1, 2], tmp_path, jobs=2)
    assert gone(int((tmp_path / "pid").read_text()), within=5)


class Exited(Exception):
    pass


def watch(monkeypatch: pytest.MonkeyPatch, *parents: int) -> None:
    """die_with_parent, with the parents that the system names in turn."""
    named = iter(parents)
    monkeypatch.setattr(process.os, "getppid", lambda: next(named))
    monkeypatch.setattr(process.os, "_exit", lambda code: (_ for _ in ()).throw(Exited))
    monkeypatch.setattr(process.ctypes, "CDLL", lambda *_: type("libc", (), {"prctl": lambda *_: 0}))
    process.die_with_parent()


def test_a_parent_may_be_process_1(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch, 1, 1)


@pytest.mark.parametrize("adopter", [1, 77], ids=["process 1", "a subreaper"])
def test_a_child_whose_parent_died_before_the_kernel_was_asked_ends_itself(
    monkeypatch: pytest.MonkeyPatch, adopter: int
) -> None:
    with pytest.raises(Exited):
        watch(monkeypatch, 42, adopter)


def interrupts(seed: int) -> bool:
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_workers_leave_an_interrupt_to_the_stage() -> None:
    assert per_seed(interrupts, [0, 1], jobs=2) == [True, True]


def hold(seed: int) -> int:
    return len(b"x" * (300 << 20)) if seed == 0 else 0


def test_the_peak_memory_of_workers_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PEAKS", [])
    per_seed(hold, [0, 1], jobs=2)
    assert len(process.PEAKS) == 2 and max(process.PEAKS) > 300 << 10
    process.PEAKS.append(1 << 40)
    assert peak_memory_mb() == 1 << 30
