from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import lockfile, rwlock
from flows.dag import Dag
from flows.pipeline import run
from stages.common import atomic
from tests.flows import toy


class Killed(BaseException):
    """Stands for a SIGKILL: nothing after it is done."""


def _lines(root: Path) -> str:
    return (root / "dvc.lock").read_text()


def test_entries_are_those_of_dvc_and_others_stay(project: Path) -> None:
    toy.dvc(project, "repro", "-q")
    theirs = _lines(project)
    dag = Dag(project)
    stages = list(dag._stages.values())
    (project / "dvc.lock").unlink()
    with dag._dvc():
        lockfile.write(dag.repo, project / "dvc.lock", stages[:1])
        lockfile.write(dag.repo, project / "dvc.lock", stages[1:])
    assert _lines(project).splitlines()[0] == "schema: '2.0'"
    assert sorted(_lines(project).splitlines()) == sorted(theirs.splitlines())
    assert "up to date" in toy.dvc(project, "status")


@pytest.mark.parametrize("at", ["copyfile", "write_text", "replace"])
def test_killed_at_any_point_it_leaves_the_file_as_it_was(project: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    toy.dvc(project, "repro", "-q")
    before, dag = _lines(project), Dag(project)
    (project / "source.txt").write_text("changed\n")
    (node,) = [n for n in dag.stages() if n.name == "make@a"]
    assert not dag.restore(node)
    (project / "data/items/a").mkdir(parents=True)
    (project / "data/items/a/all.txt").write_text("changed\n")
    dag.commit(node)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    holder = {"copyfile": lockfile.shutil, "write_text": atomic, "replace": atomic.os}[at]
    with monkeypatch.context() as patch:
        patch.setattr(holder, at, killed)
        with pytest.raises(Killed):
            dag.flush()
    assert _lines(project) == before
    dag.flush()
    assert _lines(project) != before
    assert "make@a" not in toy.dvc(project, "status", "make@a")


def test_dvcs_list_of_readers_and_writers_cut_by_a_kill_stops_nobody(project: Path) -> None:
    toy.dvc(project, "repro", "-q")
    listed = project / ".dvc" / "tmp" / "rwlock"
    whole = '{"write": {"' + str(project / "data/joined") + '": {"pid": 1, "cmd": "x"}}, "read": {}}'
    repo = Dag(project).repo
    for length in range(len(whole)):
        listed.write_text(whole[:length])
        rwlock.mend(repo)
        assert not listed.exists()
    listed.write_text(whole)
    rwlock.mend(repo)
    assert listed.read_text() == whole
    listed.write_text(whole[:9])
    toy.parameters(project, a=5, b=2)
    assert run(root=project, prefect=False, say=lambda line: None).ok
