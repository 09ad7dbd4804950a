"""A repair: what is damaged is set aside, what is whole elsewhere comes back, and only what is lost everywhere is run again."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import pipeline, verify, worker
from tests.flows import toy
from tests.flows.schedules.kit import SEAL
from tests.flows.test_verify import flip

MAKE = toy.MAKE.replace('"".join(', 'out.name + "".join(')  # no two outputs are the same


@pytest.fixture(scope="module")
def once(light: None, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has run, its outputs sealed with a manifest."""
    project = tmp_path_factory.mktemp("made") / "project"
    shutil.copytree(template, project, symlinks=True)
    (project / "make.py").write_text(MAKE + SEAL)
    assert _run(project).ran == ["make@a", "make@b", "join", "count"]
    toy.ran(project)
    return project


@pytest.fixture
def made(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "made", symlinks=True))


@pytest.fixture(autouse=True, scope="module")
def light() -> Iterator[None]:
    """The commands are no stages: the fork server needs no torch, and there is nothing to track."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_track", lambda *_: {})
        patch.setattr(worker, "PRELOAD", ["stages.common.stage"])
        yield


def _run(project: Path, *targets: str) -> pipeline.Outcome:
    return pipeline.run(list(targets) or None, root=project, prefect=False, say=lambda line: None)


def _object(project: Path, content: bytes) -> Path:
    name = hashlib.md5(content).hexdigest()
    path = project / ".dvc/cache/files/md5" / name[:2] / name[2:]
    assert path.stat().st_mode & 0o777 == 0o444
    return path


def _repaired(project: Path) -> verify.Repair:
    found = verify.check(project).found
    assert found
    done = verify.repair(project, found)
    assert (done.quarantine / "damage.json").is_file()
    return done


def test_a_lost_cache_object_comes_back_from_its_whole_output_without_a_run(made: Path) -> None:
    output = made / "data/joined/all.txt"
    whole = output.read_bytes()
    copy = _object(made, whole)
    assert copy.stat().st_ino != output.stat().st_ino
    flip(copy)
    assert "up to date" in toy.dvc(made, "status")  # DVC does not see it: this is why we look
    done = _repaired(made)
    assert (done.put_back, done.lost) == (["data/joined"], [])
    (kept,) = (done.quarantine / "cache").rglob(copy.name)
    assert kept.read_bytes() != whole and kept.parent.name == copy.parent.name
    assert copy.read_bytes() == whole
    assert verify.check(made).found == []
    assert "up to date" in toy.dvc(made, "status")
    assert _run(made).ran == [] and toy.ran(made) == []


def test_a_damaged_output_comes_back_from_the_cache_without_a_run(made: Path) -> None:
    output = made / "data/joined/all.txt"
    whole = output.read_bytes()
    flip(output)
    done = _repaired(made)
    assert (done.put_back, done.lost) == ([], ["join"])
    assert (done.quarantine / "data/joined/all.txt").read_bytes() != whole and not output.exists()
    assert _run(made, *done.lost).failed == [] and toy.ran(made) == []
    assert output.read_bytes() == whole and verify.check(made).found == []


def test_what_is_damaged_in_both_places_is_run_again_and_nothing_else_is(made: Path) -> None:
    output = made / "data/joined/all.txt"
    whole = output.read_bytes()
    flip(_object(made, whole))
    flip(output)
    done = _repaired(made)
    assert (done.put_back, done.lost) == ([], ["join"])
    assert _run(made, *done.lost).ran == ["join"] and toy.ran(made) == ["joined"]
    assert output.read_bytes() == whole and verify.check(made).found == []
    assert _run(made).ran == [] and "up to date" in toy.dvc(made, "status")


def test_an_output_that_is_a_hard_link_into_the_cache_is_damaged_with_it_and_run_again(project: Path) -> None:
    toy.dvc(project, "config", "cache.type", "hardlink")
    (project / "make.py").write_text(MAKE + SEAL)
    _run(project)
    toy.ran(project)
    output = project / "data/joined/all.txt"
    whole = output.read_bytes()
    assert output.stat().st_ino == _object(project, whole).stat().st_ino
    flip(output)
    assert {d.kind for d in verify.check(project).found} == {"output", "cache"}
    done = _repaired(project)
    assert _run(project, *done.lost).ran == ["join"] and toy.ran(project) == ["joined"]
    assert output.read_bytes() == whole and verify.check(project).found == []


def test_a_damaged_list_of_a_folder_in_the_cache_is_made_again_from_the_folder(made: Path) -> None:
    lists = sorted((made / ".dvc/cache/files/md5").rglob("*.dir"))
    for path in lists:
        flip(path)
    done = _repaired(made)
    assert sorted(done.put_back) == ["data/counted", "data/items/a", "data/items/b", "data/joined"] and done.lost == []
    assert sorted((made / ".dvc/cache/files/md5").rglob("*.dir")) == lists
    assert verify.check(made).found == [] and _run(made).ran == []


def test_an_output_without_a_manifest_is_looked_into_before_it_replaces_a_lost_object(project: Path) -> None:
    (project / "make.py").write_text(MAKE)
    _run(project)
    toy.ran(project)
    output = project / "data/joined/all.txt"
    whole = output.read_bytes()
    flip(_object(project, whole))
    times = output.stat()
    flip(output)  # DVC remembers its hash by its time and size, and does not look
    os.utime(output, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = _repaired(project)
    assert (done.put_back, done.lost) == ([], ["join"])
    assert _run(project, *done.lost).ran == ["join"]
    assert output.read_bytes() == whole and verify.check(project).found == []


def test_code_that_was_edited_stays_a_reason_to_run(made: Path) -> None:
    flip(_object(made, (made / "data/joined/all.txt").read_bytes()))
    (made / "make.py").write_text("# edited\n" + MAKE + SEAL)
    assert _repaired(made).put_back == ["data/joined"]
    assert _run(made).ran == ["make@a", "make@b", "join", "count"]


def test_two_repairs_at_once_do_not_share_a_folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify.time, "strftime", lambda form: "2026-01-02_030405")
    places = []
    for name in ("joined", "counted"):
        flip(made / "data" / name / "all.txt")
        places.append(verify.quarantine(made, verify.damaged(made)))
    assert [p.name for p in places] == ["2026-01-02_030405", "2026-01-02_030405-2"]
    assert (places[1] / "data/counted/all.txt").is_file()
