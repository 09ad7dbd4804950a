"""Parts are found by file name, and their arguments checked against their signature."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.common import registry
from stages.common.errors import UserError
from stages.common.schema import Part

ROBUST = """
from dataclasses import dataclass
from typing import Literal
from stages.common.registry import part

@part
class Robust:
    def __init__(self, width: int, *, rate: float = 0.5, mode: Literal["a", "b"] = "a", sizes: list[int] | None = None) -> None:
        self.width, self.rate, self.mode, self.sizes = width, rate, mode, sizes
"""
NEEDY = """
from stages.common.registry import part
from shelf.robust import Robust  # another part's class in this module is not this module's part

@part
def needy(x: int, *, steps: int) -> int:
    return x * steps
"""

TWO = ROBUST + ROBUST.replace("Robust", "Other")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of parts of a kind of its own."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name, text in {"__init__": "", "robust": ROBUST, "needy": NEEDY, "_helper": "", "two": TWO}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setitem(registry.PACKAGES, "thing", "shelf")
    monkeypatch.setattr(registry, "_ROOT", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [n for n in sys.modules if n == "shelf" or n.startswith("shelf.")]:
        del sys.modules[name]


def mistake(name: str, **args: object) -> UserError:
    with pytest.raises(UserError) as caught:
        registry.check("thing", Part(name, args), "node.thing")
    return caught.value


def test_names_are_file_names_and_nothing_is_imported(shelf: Path) -> None:
    assert registry.names("thing") == ["needy", "robust", "two"]
    assert "shelf.robust" not in sys.modules


def test_a_part_is_made_from_what_is_handed_and_its_arguments(shelf: Path) -> None:
    made = registry.make("thing", Part("robust", {"rate": 1, "sizes": [1, 2]}), 8)
    assert (made.width, made.rate, made.mode, made.sizes) == (8, 1.0, "a", [1, 2])
    assert isinstance(made.rate, float)


def test_only_the_marked_thing_of_the_module_is_the_part(shelf: Path) -> None:
    assert registry.find("thing", "needy").__name__ == "needy"


def test_an_unknown_part_names_the_nearest(shelf: Path) -> None:
    assert mistake("robst").do == "did you mean 'robust'?"


def test_an_unknown_argument_names_the_nearest_and_the_part(shelf: Path) -> None:
    error = mistake("robust", raet=0.1)
    assert (error.what, error.where) == ("unknown argument of thing 'robust' 'raet'", "node.thing")
    assert error.do == "did you mean 'rate'?"


def test_what_the_program_hands_over_is_no_argument(shelf: Path) -> None:
    assert mistake("robust", width=3).what == "unknown argument of thing 'robust' 'width'"


def test_an_argument_of_the_wrong_type_is_named(shelf: Path) -> None:
    error = mistake("robust", sizes=[1, "2"])
    assert (error.what, error.where) == ("expected a whole number, got str '2'", "node.thing.sizes[1]")


def test_a_value_outside_a_literal_argument_is_named(shelf: Path) -> None:
    assert mistake("robust", mode="c").where == "node.thing.mode"


def test_an_argument_without_a_default_must_be_given(shelf: Path) -> None:
    error = mistake("needy")
    assert (error.what, error.do) == ("thing 'needy' needs 'steps'", "add `steps:` to node.thing")


def test_a_module_that_marks_two_parts_is_our_mistake(shelf: Path) -> None:
    with pytest.raises(TypeError, match="exactly one part"):
        registry.find("thing", "two")


def test_a_class_that_inherits_from_the_part_is_not_a_part_itself(shelf: Path) -> None:
    (shelf / "heir.py").write_text(ROBUST + "\nclass Heir(Robust):\n    pass\n\nready = Robust(3)\n")
    assert registry.find("thing", "heir").__name__ == "Robust"


def test_a_part_whose_library_is_missing_names_the_library(shelf: Path) -> None:
    (shelf / "far.py").write_text("import library_that_is_not_there.deep\n" + ROBUST)
    error = mistake("far")
    assert (error.what, error.where) == ("thing 'far' needs the library 'library_that_is_not_there'", "node.thing")


def test_a_part_that_imports_a_module_of_ours_that_is_gone_is_our_mistake(shelf: Path) -> None:
    (shelf / "broken.py").write_text("import stages.gone\n" + ROBUST)
    with pytest.raises(ModuleNotFoundError):
        registry.find("thing", "broken")
