"""`prelude run --pull` on the toy project with a folder as DVC's remote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import cli
from flows.pipeline import run
from flows.remote import pull
from stages.common.errors import UserError
from tests.flows import toy

ALL = ["make@a", "make@b", "join", "count"]


@pytest.fixture
def pushed(project: Path) -> Path:
    """Run, pushed to ../store with its run cache, and everything of it removed here but dvc.lock."""
    toy.dvc(project, "remote", "add", "-d", "store", str(project.parent / "store"))
    toy.dvc(project, "repro", "-q")
    toy.dvc(project, "push", "-q", "--run-cache")
    for folder in ("data", ".dvc/cache"):
        shutil.rmtree(project / folder)
    toy.ran(project)
    return project


@pytest.mark.parametrize("locked", [True, False])
def test_what_the_remote_knows_is_restored_and_no_command_runs(pushed: Path, locked: bool) -> None:
    if not locked:
        (pushed / "dvc.lock").unlink()  # the remote's run cache is enough
    assert sorted(pull(pushed)) == sorted(ALL)
    assert toy.ran(pushed) == []
    assert "up to date" in toy.dvc(pushed, "status")
    assert pull(pushed) == []  # all there


def test_what_follows_a_node_that_the_remote_does_not_know_is_left_to_the_run(
    pushed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.parameters(pushed, a=5, b=2)
    monkeypatch.chdir(pushed)
    assert cli.main(["run", "--no-prefect", "--pull"]) == 0
    said = capsys.readouterr().out
    assert "restored from DVC's remote: 1\n" in said and "2 ran, 2 cached" in said
    assert toy.ran(pushed) == ["a", "joined"]  # the same bytes as before: what counts them is known


def test_an_object_that_the_remote_lost_is_made_again(pushed: Path) -> None:
    for path in (pushed.parent / "store/files/md5").glob("*/*"):
        if "base\nbase\n" in path.read_text():  # the file of join, and of count, which copies it
            path.unlink()
    assert sorted(pull(pushed)) == ["make@a", "make@b"]
    assert run(root=pushed, prefect=False, say=lambda line: None).ran == ["join"]


def test_no_remote_and_one_that_cannot_be_read_are_told(project: Path) -> None:
    with pytest.raises(UserError, match=r"no default remote(.|\n)*dvc remote add -d"):
        pull(project)
    toy.dvc(project, "remote", "add", "-d", "store", "s3://bucket/prelude")
    toy.dvc(project, "remote", "modify", "store", "endpointurl", "http://127.0.0.1:9")
    toy.dvc(project, "remote", "modify", "store", "access_key_id", "x")
    toy.dvc(project, "remote", "modify", "store", "secret_access_key", "x")
    with pytest.raises(UserError, match=r"remote cannot be read: Could not connect"):
        pull(project)
