"""Disks that fill up or are read-only, and memory that runs out, in every stage: one clear error, nothing partial."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from stages.common import atomic
from tests.faults.pipeline import clear, completes, content, run, said, target

pytestmark = pytest.mark.slow
KIB = 1024
# Room left, from none to what no stage of the tiny plan fills.
ROOM = [0, 4, 16, 64, 256, 1024, 4096, 16384]
MEMORY = [0, 1, 4, 8, 16, 32, 64, 128, 256, 1024, 4096]


@pytest.fixture
def disk(made: Path, tmp_path: Path) -> Iterator[Path]:
    """The finished workspace on a file system of its own. Skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() or _mount("-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        shutil.copytree(made, folder, dirs_exist_ok=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> int:
    return subprocess.run(["mount", *words], capture_output=True).returncode


def leave(disk: Path, kib: int) -> None:
    """Sets the size of a file system so that this much is free."""
    found = os.statvfs(disk)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize // KIB
    assert _mount("-o", f"remount,size={used + kib}k", str(disk)) == 0


def one_error(disk: Path, words: str) -> None:
    """What was said since the last look is one error that says what to do, and no traceback."""
    text = said(disk).read_text()
    said(disk).write_text("")
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0] and "  do: " in text and "Traceback" not in text, text


@pytest.mark.parametrize("again", ["from nothing", "over an earlier output"])
def test_a_disk_that_fills_up_anywhere_in_a_stage_is_one_error(
    disk: Path, stage: str, undisturbed: dict[str, bytes], again: str
) -> None:
    said(disk).write_text("")
    refused = 0
    for kib in ROOM:
        if again == "from nothing":
            clear(disk, stage)
        leave(disk, kib)
        code = run(disk, stage).code
        if code == 0:
            break
        refused += 1
        assert code == 2, said(disk).read_text()
        one_error(disk, "No space left on device")
        if again != "from nothing":
            assert content(target(disk, stage)) == undisturbed
    assert refused >= 2 and code == 0, f"refused {refused} times"
    leave(disk, 256 * KIB)
    completes(disk, stage, undisturbed, "a full disk")


def test_a_read_only_disk_is_one_error(disk: Path, stage: str, undisturbed: dict[str, bytes]) -> None:
    said(disk).write_text("")
    assert _mount("-o", "remount,ro", str(disk)) == 0
    assert run(disk, stage).code == 2, said(disk).read_text()
    one_error(disk, "Read-only file system")
    assert content(target(disk, stage)) == undisturbed
    assert _mount("-o", "remount,rw", str(disk)) == 0
    completes(disk, stage, undisturbed, "a read-only disk")


def limit_memory(mib: int) -> None:
    """The process may have this much more memory than it holds now."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + (mib << 20),) * 2)


def test_memory_that_runs_out_anywhere_in_a_stage_spoils_nothing(made: Path, stage: str, undisturbed: dict[str, bytes]) -> None:
    """Each is told as that, but where a library aborts (it cannot start a thread) or hides it behind an error of its own.

    With hardly enough, torch's libraries take kernels that need less, whose sums differ in the last digit: whole, not equal.
    """
    said(made).write_text("")
    codes = []
    for mib in MEMORY:
        codes.append(run(made, stage, first=partial(limit_memory, mib)).code)
        if codes[-1] == 2:
            one_error(made, "memory ran out")
        said(made).write_text("")
        if codes[-1] == 0:
            assert atomic.damaged(target(made, stage)) == []
            break
        assert content(target(made, stage)) == undisturbed
    assert codes[-1] == 0 and 2 in codes[:-1], codes
    completes(made, stage, undisturbed, "too little memory")
