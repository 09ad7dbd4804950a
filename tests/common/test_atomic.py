"""Outputs are seen whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common import atomic
from stages.common.errors import ContractError, UserError

Start = Callable[..., subprocess.Popen[str]]


def make(target: Path, text: str) -> Path:
    with atomic.replacing(target) as folder:
        (folder / "seed=0").mkdir()
        (folder / "seed=0" / "a.txt").write_text(text)
    return target


def content(target: Path) -> str:
    """What a reader gets, after every check."""
    assert atomic.damaged(target) == []
    return (target / "seed=0" / "a.txt").read_text()


def hidden(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_a_finished_folder_takes_the_targets_place(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    make(tmp_path / "out", "new")
    assert content(tmp_path / "out") == "new"
    assert hidden(tmp_path) == []


def test_an_earlier_target_stays_whole_when_the_body_raises(tmp_path: Path) -> None:
    make(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), atomic.replacing(tmp_path / "out") as folder:
        (folder / "half.txt").write_text("half")
        raise ZeroDivisionError
    assert content(tmp_path / "out") == "old"
    assert hidden(tmp_path) == []


def test_nothing_appears_when_the_first_body_raises(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic.replacing(tmp_path / "out"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_folder_of_a_killed_process_is_cleared(tmp_path: Path) -> None:
    stale = tmp_path / ".out.tmp-1"
    (stale / "deep").mkdir(parents=True)
    other = tmp_path / ".outer.tmp-1"
    other.mkdir()
    make(tmp_path / "out", "new")
    assert not stale.exists() and other.exists()


@pytest.mark.parametrize("there", [True, False], ids=["with an earlier target", "with none"])
def test_a_target_that_is_made_holds_its_manifest(tmp_path: Path, there: bool) -> None:
    if there:
        make(tmp_path / "out", "old")
    make(tmp_path / "out", "new")
    found = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert list(found["files"]) == ["seed=0/a.txt"] and found["files"]["seed=0/a.txt"]["bytes"] == 3


def test_the_digest_names_the_content_and_nothing_else(tmp_path: Path) -> None:
    one, two, other = (make(tmp_path / name, text) for name, text in (("a", "x"), ("b", "x"), ("c", "y")))
    digests = [atomic.manifest(folder)["digest"] for folder in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]


def test_the_same_bytes_under_another_name_have_another_digest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with atomic.replacing(tmp_path / name) as folder:
            (folder / f"{name}.txt").write_text("x")
    assert atomic.manifest(tmp_path / "a")["digest"] != atomic.manifest(tmp_path / "b")["digest"]


def mistake(folder: Path) -> ContractError:
    with pytest.raises(ContractError) as caught:
        atomic.manifest(folder)
    return caught.value


def test_a_folder_without_a_manifest_is_no_result(tmp_path: Path) -> None:
    assert mistake(tmp_path).where == str(tmp_path / "manifest.json")


def test_a_missing_folder_says_how_to_make_it(tmp_path: Path) -> None:
    assert mistake(tmp_path / "none").do == "run the stage that makes it, or `dvc repro`"


def test_a_missing_file_is_found(tmp_path: Path) -> None:
    (make(tmp_path / "out", "new") / "seed=0" / "a.txt").unlink()
    assert mistake(tmp_path / "out").where == str(tmp_path / "out" / "seed=0" / "a.txt")


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    (make(tmp_path / "out", "new") / "seed=0" / "a.txt").write_text("ne")
    assert mistake(tmp_path / "out").what == "the file has 2 bytes, its manifest says 3"


def test_a_flipped_byte_is_found_by_reading_everything(tmp_path: Path) -> None:
    (make(tmp_path / "out", "new") / "seed=0" / "a.txt").write_text("nex")
    atomic.manifest(tmp_path / "out")
    assert atomic.damaged(tmp_path / "out") == ["seed=0/a.txt"]


@pytest.mark.parametrize("text", ["", "{", "\xff"])
def test_json_that_is_damaged_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ContractError) as caught:
        atomic.read_json(tmp_path / "a.json")
    assert caught.value.where == str(tmp_path / "a.json")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=_json)
def test_json_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "a.json"
    atomic.write_json(path, value)
    assert atomic.read_json(path) == value


def test_the_digest_of_json_does_not_depend_on_the_order_of_keys() -> None:
    assert atomic.digest_json({"a": 1, "b": [2]}) == atomic.digest_json({"b": [2], "a": 1}) != atomic.digest_json({"a": 1})


def test_a_rewritten_file_is_whole_or_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


HOLD = """
import sys, time
from pathlib import Path
from stages.common import atomic
with atomic.lock(Path(sys.argv[1]), Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_excludes_a_second_process_and_dies_with_its_holder(tmp_path: Path, python: Start) -> None:
    holder = python(HOLD, tmp_path / "out", tmp_path / "locks")
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    entered = threading.Event()

    def second() -> None:
        with atomic.lock(tmp_path / "out", tmp_path / "locks"):
            entered.set()

    waiter = threading.Thread(target=second)
    waiter.start()
    assert not entered.wait(0.3)
    with atomic.lock(tmp_path / "other", tmp_path / "locks"):
        pass  # another target's lock is free
    os.kill(holder.pid, signal.SIGKILL)
    assert entered.wait(10)
    waiter.join()


def test_a_target_that_cannot_be_made_is_the_users_to_put_right(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught, atomic.replacing(tmp_path / "file" / "out"):
        pass
    assert caught.value.where == str(tmp_path / "file" / "out")


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from stages.common import atomic

module, name, when, target = sys.argv[1:]
module = {"atomic": atomic, "os": os, "shutil": shutil, "hashlib": atomic.hashlib}[module]
kill = lambda *args, **words: os.kill(os.getpid(), signal.SIGKILL)
real = getattr(module, name)
after = lambda *args, **words: (real(*args, **words), kill())

with atomic.replacing(Path(target)) as folder:
    (folder / "seed=0").mkdir()
    (folder / "seed=0" / "a.txt").write_text("new")
    setattr(module, name, kill if when == "before" else after)
"""


@pytest.mark.parametrize(
    ("module", "name", "when"),
    [
        ("hashlib", "file_digest", "before"),
        ("atomic", "write_json", "before"),
        ("atomic", "write_json", "after"),
        ("atomic", "swap", "before"),
        ("os", "rename", "after"),
        ("atomic", "sync_folder", "after"),
        ("shutil", "rmtree", "before"),
        ("shutil", "rmtree", "after"),
    ],
)
def test_a_process_killed_at_any_point_leaves_an_earlier_target_or_a_new_one(
    tmp_path: Path, python: Start, module: str, name: str, when: str
) -> None:
    make(tmp_path / "out", "old")
    process = python(KILLED, module, name, when, tmp_path / "out")
    process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGKILL, 0)
    assert content(tmp_path / "out") in ("old", "new")
    make(tmp_path / "out", "newest")
    assert content(tmp_path / "out") == "newest"
    assert hidden(tmp_path) == []


NO_EXCHANGE = "from stages.common import atomic; atomic._exchange = lambda a, b: False\n"


@pytest.mark.parametrize(("name", "when"), [("rename", "before"), ("rename", "after")])
def test_where_the_system_cannot_exchange_folders_the_next_run_restores_the_old_content(
    tmp_path: Path, python: Start, monkeypatch: pytest.MonkeyPatch, name: str, when: str
) -> None:
    make(tmp_path / "out", "old")
    python(NO_EXCHANGE + KILLED, "os", name, when, tmp_path / "out").communicate(timeout=30)
    with pytest.raises(ZeroDivisionError), atomic.replacing(tmp_path / "out"):
        raise ZeroDivisionError
    assert content(tmp_path / "out") == "old"
    monkeypatch.setattr(atomic, "_exchange", lambda a, b: False)
    make(tmp_path / "out", "new")
    assert content(tmp_path / "out") == "new"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"files": {}}', '{"digest": "", "files": {"a": {}}}', '{"digest": "", "files": 3}']
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert mistake(tmp_path).where == str(tmp_path / "manifest.json")


def test_a_flipped_digit_in_the_manifest_is_found(tmp_path: Path) -> None:
    path = make(tmp_path / "out", "new") / "manifest.json"
    digest = atomic.manifest(tmp_path / "out")["digest"]
    path.write_text(path.read_text().replace(digest, digest[:-1] + ("0" if digest[-1] != "0" else "1")))
    assert mistake(tmp_path / "out").where == str(path)


def test_a_file_that_finds_no_room_leaves_the_old_one_and_no_litter(small_disk: Path) -> None:
    atomic.write_text(small_disk / "a.txt", "old")
    with pytest.raises(OSError, match="No space"):
        atomic.write_text(small_disk / "a.txt", "new" * 500_000)
    assert (small_disk / "a.txt").read_text() == "old"
    assert hidden(small_disk) == []


def test_a_folder_that_finds_no_room_leaves_the_old_one_and_no_litter(small_disk: Path) -> None:
    make(small_disk / "out", "old")
    with pytest.raises(OSError, match="No space"):
        make(small_disk / "out", "new" * 500_000)
    assert content(small_disk / "out") == "old"
    assert hidden(small_disk) == []


def test_every_file_and_folder_is_on_disk_before_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())), real(handle))
    )
    (tmp_path / "out" / "seed=0" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "seed=0" / "deep" / "a.txt").write_text("x")
    atomic.seal(tmp_path / "out")
    names = [str(Path(s).relative_to(tmp_path)) for s in synced]
    manifest = next(i for i, name in enumerate(names) if "manifest.json" in name)
    assert {"out/seed=0/deep/a.txt", "out/seed=0/deep", "out/seed=0"} <= set(names[:manifest])
    assert names[-1] == "out"


def test_only_the_manifest_at_the_top_is_left_out_of_itself(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "out") as folder:
        (folder / "shards").mkdir()
        (folder / "shards" / "manifest.json").write_text("{}")
    assert list(atomic.manifest(tmp_path / "out")["files"]) == ["shards/manifest.json"]


def test_two_paths_to_one_target_share_its_lock(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    for path in ("data/out", "link/out", "data/../data/out"):
        with atomic.lock(tmp_path / path, tmp_path / "locks"):
            pass
    assert len(list((tmp_path / "locks").iterdir())) == 1


def test_locks_that_cannot_be_written_are_the_users_to_put_right(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught, atomic.lock(tmp_path / "out", tmp_path / "file" / "locks"):
        pass
    assert caught.value.where == str(tmp_path / "file" / "locks")
