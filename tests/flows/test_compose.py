"""Plans are composed by Hydra as DVC composes them, united, and written; nodes that left are set aside."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hydra import initialize_config_dir

from flows import compose
from stages.common import atomic, plan
from stages.common.errors import UserError
from stages.common.schema import build
from stages.common.workspace import Workspace
from tests.flows.params_tree import GROUPS, put, write_tree
from tests.toy import install_parts, plan_with


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with a small params/ tree, its parts the toy ones."""
    write_tree(tmp_path)
    monkeypatch.chdir(tmp_path)
    for _ in install_parts(tmp_path / "parts", monkeypatch):
        yield tmp_path


def mistake(root: Path, *systems: str, overrides: tuple[str, ...] = ()) -> UserError:
    with pytest.raises(UserError) as caught:
        compose.make(root, list(systems) or ["one"], overrides)
    return caught.value


def test_a_systems_nodes_are_assembled_from_their_groups(root: Path) -> None:
    data, typed = compose.make(root, ["one"])
    assert list(data["encoders"]) == ["trained", "random"]
    assert data["encoders"]["trained"]["objective"] == {"name": "plain", "strength": 0.25, "size": 3}
    assert typed.encoders["random"].epochs == 0 and typed.encoders["trained"].epochs == 3
    assert data["compute"] == {"device": "cpu", "jobs": None}


def test_a_replaced_part_leaves_none_of_its_keys_behind(root: Path) -> None:
    assert compose.make(root, ["one"])[0]["encoders"]["random"]["objective"] == {"name": "none"}


def test_a_nodes_references_to_its_own_keys_are_resolved(root: Path) -> None:
    data, _ = compose.make(root, ["one"])
    assert data["encoders"]["trained"]["parent"] == "corpora/digits"
    assert data["tasks"]["probe"]["support"] == "features/trained"


def test_an_override_from_the_command_line_reaches_its_key(root: Path) -> None:
    data, _ = compose.make(root, ["one"], ["encoders.trained.epochs=7", "objective@encoders.trained.objective=none"])
    assert data["encoders"]["trained"]["epochs"] == 7
    assert data["encoders"]["trained"]["objective"]["name"] == "none"


def test_systems_are_united(root: Path) -> None:
    data, typed = compose.make(root, ["one", "two", "one"])
    assert list(data["encoders"]) == ["trained", "random", "other"] and list(typed.systems) == ["one", "two"]
    assert list(data["corpora"]) == ["digits"]


def test_a_node_that_two_systems_define_differently_is_shown_with_its_difference(root: Path) -> None:
    put(root, "system/three", GROUPS["system/two"].replace("other", "trained").replace("two", "three"))
    error = mistake(root, "one", "three")
    assert error.what == ("systems 'one' and 'three' define encoders.trained differently: objective.strength: 0.25 / 0.5")
    assert error.where == "params/system/three.yaml"


def test_an_unknown_system_names_the_nearest(root: Path) -> None:
    assert mistake(root, "tow").do == "did you mean 'two'?"


def test_an_unknown_key_of_a_node_names_the_nearest(root: Path) -> None:
    put(root, "system/two", GROUPS["system/two"].replace("{corpus: digits}", "{corpus: digits, epoch: 5}"))
    error = mistake(root, "two")
    assert (error.where, error.do) == ("params.yaml.encoders.other", "did you mean 'epochs'?")


def test_a_part_that_there_is_none_of_is_found_before_anything_is_written(root: Path) -> None:
    put(root, "objective/plain", "{name: plane}")
    with pytest.raises(UserError, match="unknown objective 'plane'"):
        compose.write(root, ["one"])
    assert not (root / "params.yaml").exists()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("system/two", "digits: digits", "digits: none_such"),
        ("encoder/small", "corpora/${.corpus}", "corpora/${.korpus}"),
        ("encoder/small", "objective: plain", "objective: none_such"),
    ],
    ids=["a missing group file", "a broken reference", "a missing part"],
)
def test_what_does_not_compose_is_the_users_mistake(root: Path, name: str, old: str, new: str) -> None:
    put(root, name, GROUPS[name].replace(old, new))
    error = mistake(root, "two")
    assert error.what.startswith("the plan does not compose") and error.where == "params/system/two.yaml"


@pytest.mark.parametrize("override", ["encoders.trained.epochz=7", "=", "encoders.trained.epochs=[1"])
def test_an_override_that_makes_no_sense_is_the_users_mistake(root: Path, override: str) -> None:
    assert mistake(root, "one", overrides=(override,)).what.startswith("the plan does not compose")


def test_composition_is_what_dvc_composes(root: Path) -> None:
    from dvc.utils.hydra import compose_and_dump

    for overrides in ([], ["encoders.trained.epochs=7"]):
        compose_and_dump(root / "dvc.yaml.params.yaml", str(root / "params"), None, "config", None, ["system=one", *overrides])
        theirs = yaml.safe_load((root / "dvc.yaml.params.yaml").read_text())
        assert compose.compose(root, "one", overrides) == theirs


def test_composition_works_where_hydra_is_in_use_already(root: Path) -> None:
    with initialize_config_dir(str(root / "params"), version_base=None):
        assert list(compose.compose(root, "two")["encoders"]) == ["other"]


def test_what_is_written_is_what_was_composed(root: Path) -> None:
    typed = compose.write(root, ["one", "two"])
    assert plan.load(root / "params.yaml") == typed
    assert plan.read(root / "params.yaml") == compose.make(root, ["one", "two"])[0]
    text = (root / "params.yaml").read_text()
    assert text.startswith(plan.COMPOSED) and text.endswith(plan.END)
    compose.write(root, ["one", "two"])
    assert (root / "params.yaml").read_text() == text


def test_a_failed_composition_leaves_the_earlier_plan(root: Path) -> None:
    compose.write(root, ["one"])
    before = (root / "params.yaml").read_text()
    with pytest.raises(UserError):
        compose.write(root, ["none"])
    assert (root / "params.yaml").read_text() == before


def output(folder: Path) -> Path:
    with atomic.replacing(folder) as inner:
        (inner / "a.txt").write_text("x")
    return folder


def folders(workspace: Workspace) -> dict[str, Path]:
    """The output and record of every node of the toy plan."""
    found = {
        "corpus": workspace.corpus("digits"),
        "encoder": workspace.encoder("a"),
        "features": workspace.features("a"),
        "task": workspace.task("toy", "probe"),
        "report": workspace.report("toy"),
    }
    keys = [("ingest", "digits"), ("pretrain", "a"), ("extract", "a"), ("fit", "probe"), ("evaluate", "toy")]
    return found | {f"record of {stage}": workspace.record(stage, key) for stage, key in keys}


def test_only_nodes_that_left_the_plan_are_set_aside(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    kept = [output(folder) for folder in folders(workspace).values()]
    gone = [
        output(folder)
        for folder in (
            workspace.corpus("other"),
            workspace.encoder("b"),
            workspace.features("b"),
            workspace.task("toy", "old_probe"),
            workspace.task("other", "probe"),
            workspace.report("other"),
            workspace.record("fit", "old_probe"),
        )
    ]
    (workspace.data / "corpora" / ".gitignore").write_text("/digits")
    output(workspace.page)
    typed = build(plan.Plan, plan_with(), "plan")
    assert sorted(compose.set_aside(workspace, typed)) == sorted(gone)
    assert all(folder.is_dir() for folder in kept) and workspace.page.is_dir()
    assert (workspace.data / "corpora" / ".gitignore").exists()
    for folder in gone:
        assert not folder.exists()
        assert (workspace.state / "aside" / folder.relative_to(workspace.data) / "a.txt").read_text() == "x"
    assert compose.set_aside(workspace, typed) == []


def test_a_folder_set_aside_twice_is_the_later_one(tmp_path: Path) -> None:
    workspace, typed = Workspace(tmp_path), build(plan.Plan, {}, "plan")
    for text in ("first", "second"):
        (output(workspace.encoder("b")) / "a.txt").write_text(text)
        compose.set_aside(workspace, typed)
    assert (workspace.state / "aside" / "encoders" / "b" / "a.txt").read_text() == "second"


def test_writing_a_plan_sets_aside_what_left_it(root: Path) -> None:
    compose.write(root, ["one", "two"])
    for name in ("trained", "other"):
        output(Workspace(root).encoder(name))
    compose.write(root, ["one"])
    assert [p.name for p in (root / "data" / "encoders").iterdir()] == ["trained"]
    shutil.rmtree(root / "data")


@pytest.mark.parametrize("name", ["system/two", "encoder/small", "config"])
def test_a_file_that_is_no_yaml_is_named(root: Path, name: str) -> None:
    put(root, name, "{a: [1")
    error = mistake(root, "two")
    assert error.what.startswith("the plan does not compose") and f"{name}.yaml" in error.what


def test_a_value_that_was_not_set_is_named(root: Path) -> None:
    put(root, "system/two", GROUPS["system/two"].replace("{corpus: digits}", "{epochs: 5}"))
    error = mistake(root, "two")
    assert (error.what, error.where) == ("encoders.other.corpus has no value", "params/system/two.yaml")


def test_settings_beside_the_nodes_do_not_get_lost_either(root: Path) -> None:
    put(root, "system/two", GROUPS["system/two"].rstrip() + "\n        compute: {jobs: 1}\n")
    error = mistake(root, "one", "two")
    assert error.what == "systems 'one' and 'two' define compute differently: jobs: None / 1"


@pytest.mark.parametrize("place", ["encoders.trained", "encoders.trained.objective", "corpora.digits"])
def test_a_target_to_call_is_an_unknown_key_and_nothing_is_called(root: Path, place: str) -> None:
    """Hydra's own way to name code in a configuration (`hydra.utils.instantiate`) is not ours."""
    error = mistake(root, overrides=(f"+{place}._target_=os.mkdir", f"+{place}.path={root}/made"))
    assert "_target_" in str(error) and not (root / "made").exists()
