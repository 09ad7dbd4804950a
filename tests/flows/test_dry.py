from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows import dry
from stages.common.errors import UserError
from tests.flows import toy


def _foresee(root: Path, *targets: str, force: bool = False) -> dict[str, tuple[str, str]]:
    found = dry.foresee(root, list(targets) or None, force=force)
    return {one.name: (one.state, "; ".join(one.why)) for one in found}


@pytest.fixture
def made(project: Path) -> Path:
    toy.dvc(project, "repro", "-q")
    toy.ran(project)
    return project


def test_a_fresh_workspace_would_run_its_first_stages_and_see_about_the_rest(project: Path) -> None:
    found = _foresee(project)
    assert {name: state for name, (state, _) in found.items()} == {
        "make@a": "run",
        "make@b": "run",
        "join": "follows",
        "count": "follows",
    }
    assert "it never ran" in found["make@a"][1]
    assert found["join"][1] == "make@a; make@b"


def test_it_names_the_parameter_or_the_input_that_changed_and_runs_nothing(made: Path) -> None:
    assert {state for state, _ in _foresee(made).values()} == {"cached"}
    toy.parameters(made, a=1, b=7)
    found = _foresee(made)
    assert found["make@b"] == ("run", "corpora.b.shard_mb: 2 -> 7")
    assert found["make@a"] == ("cached", "")
    assert found["join"] == ("follows", "make@b")
    toy.parameters(made, a=1, b=2)
    (made / "source.txt").write_text("other\n")
    assert _foresee(made)["make@a"] == ("run", "source.txt: modified")
    assert not toy.ran(made)


def test_what_the_run_cache_holds_would_be_restored(made: Path) -> None:
    shutil.rmtree(made / "data/items/a")
    assert _foresee(made)["make@a"] == ("restore", "data/items/a: deleted")
    assert _foresee(made, force=True)["make@a"] == ("run", "--force")


def test_the_text_counts_and_folds_long_reasons(made: Path) -> None:
    assert dry.text(dry.foresee(made)) == "nothing to do: 4 cached"
    many = dry.text([dry.Foreseen("report", "follows", list("abcde"))])
    assert many.splitlines()[0].split(maxsplit=2)[2] == "a; b; c; and 2 more"
    assert many.splitlines()[-1] == "would: 1 follows"


def test_an_unknown_target_is_a_users_mistake(project: Path) -> None:
    with pytest.raises(UserError, match="nonsense"):
        dry.foresee(project, ["nonsense"])
