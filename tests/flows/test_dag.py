from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.dag import Dag
from stages.common.errors import UserError
from tests.flows import toy


def reproduce(root: Path, targets: list[str] | None = None) -> list[str]:
    """The loop of a serial run; returns the names of the stages whose command ran."""
    dag, ran = Dag(root), []
    for node in dag.stages(targets):
        if dag.changed(node) and not dag.restore(node):
            with dag.busy(node):
                subprocess.run(["sh", "-c", node.cmd or "false"], cwd=root, env=toy.environment(), check=True)
            dag.commit(node)
            ran.append(node.name)
    dag.flush()
    return ran


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return toy.create(tmp_path / "ours")


def test_it_leaves_the_lock_file_that_dvc_repro_leaves(project: Path, tmp_path: Path) -> None:
    theirs = toy.create(tmp_path / "theirs")
    toy.dvc(theirs, "repro", "-q")
    assert reproduce(project) == ["make@a", "make@b", "join", "count"]
    assert (project / "dvc.lock").read_text() == (theirs / "dvc.lock").read_text()
    assert "up to date" in toy.dvc(project, "status")
    assert "didn't change" in toy.dvc(project, "repro")


def test_a_second_run_does_nothing_and_a_changed_parameter_reruns_its_node_and_what_follows(project: Path) -> None:
    reproduce(project)
    assert reproduce(project) == []
    toy.parameters(project, a=1, b=3)
    assert reproduce(project) == ["make@b"]  # it made the same bytes, so what follows is up to date
    (project / "source.txt").write_text("other\n")
    assert reproduce(project) == ["make@a", "make@b", "join", "count"]


def test_deleted_outputs_and_earlier_states_come_back_from_the_cache(project: Path) -> None:
    reproduce(project)
    first = (project / "data/counted/all.txt").read_text()
    shutil.rmtree(project / "data")
    assert reproduce(project) == []
    assert (project / "data/counted/all.txt").read_text() == first
    (project / "source.txt").write_text("other\n")
    reproduce(project)
    (project / "source.txt").write_text("base\n")
    assert reproduce(project) == []
    assert (project / "data/counted/all.txt").read_text() == first
    assert "up to date" in toy.dvc(project, "status")


def test_an_input_that_changes_while_the_command_runs_makes_the_result_stale(project: Path) -> None:
    dag = Dag(project)
    node = dag.stages()[0]
    assert not dag.restore(node)
    subprocess.run(["sh", "-c", node.cmd or "false"], cwd=project, env=toy.environment(), check=True)
    (project / "source.txt").write_text("edited meanwhile\n")
    dag.commit(node)
    dag.flush()
    assert dag.changed(node)
    assert "make@a" in reproduce(project)
    assert (project / "data/items/a/all.txt").read_text() == "edited meanwhile\n"


def test_nodes_say_what_they_read_make_and_follow(project: Path) -> None:
    nodes = {n.name: n for n in Dag(project).stages()}
    assert set(nodes["join"].upstream) == {"make@a", "make@b"}
    assert nodes["make@a"].deps == ("make.py", "source.txt", "params.yaml")
    assert nodes["make@a"].outs == ("data/items/a",)
    assert nodes["make@a"].cmd == "python make.py data/items/a source.txt"


def test_targets_bring_what_they_need_and_no_more(project: Path) -> None:
    dag = Dag(project)
    assert [n.name for n in dag.stages(["join"])] == ["make@a", "make@b", "join"]
    assert [n.name for n in dag.stages(["make"])] == ["make@a", "make@b"]
    with pytest.raises(UserError, match="mak@c"):
        dag.stages(["mak@c"])


def test_a_folder_without_a_graph_and_a_broken_graph_are_users_mistakes(tmp_path: Path, project: Path) -> None:
    with pytest.raises(UserError, match="dvc init"):
        Dag(tmp_path)
    (project / "dvc.yaml").write_text("stages: {x: {cmd: echo, outz: [y]}}")
    with pytest.raises(UserError, match=r"dvc\.yaml"):
        Dag(project)


def test_a_missing_input_is_a_clear_error(project: Path) -> None:
    (project / "source.txt").unlink()
    dag = Dag(project)
    node = dag.stages()[0]
    assert dag.changed(node)
    with pytest.raises(UserError, match=r"an input is missing: source\.txt\n  where: dvc\.yaml: make@a"):
        dag.restore(node)


def test_an_output_that_a_command_did_not_make_is_a_clear_error(project: Path) -> None:
    dag = Dag(project)
    node = dag.stages()[0]
    dag.restore(node)
    with pytest.raises(UserError, match=r"data/items/a.*does not exist"):
        dag.commit(node)


def test_another_process_cannot_reproduce_what_is_running(project: Path) -> None:
    dag = Dag(project)
    node = dag.stages()[0]
    dag.restore(node)
    with dag.busy(node):
        other = subprocess.run(["dvc", "repro", "make@a"], cwd=project, env=toy.environment(), capture_output=True, text=True)
    assert other.returncode != 0
    assert "is busy" in other.stderr


def test_a_file_added_with_dvc_add_is_a_node_without_a_command(project: Path) -> None:
    toy.dvc(project, "add", "-q", "source.txt")
    assert reproduce(project) == ["make@a", "make@b", "join", "count"]
    (project / "source.txt").write_text("other\n")
    reproduce(project)
    added = yaml.safe_load((project / "source.txt.dvc").read_text())
    assert added["outs"][0]["size"] == len("other\n")
