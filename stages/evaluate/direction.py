"""Which way a figure is better, read from the file of what makes it without running it (a measure would import torch)."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

from stages.common import registry

CONSTANT = "HIGHER_IS_BETTER"
_NAMED = {"loss": False}  # figures that are neither metric nor measure


@functools.cache
def higher_is_better(name: str) -> bool | None:
    """The constant HIGHER_IS_BETTER of metric or measure `name`; None where neither way is, or there is no such part.

    A head that makes figures of its own may name theirs: HIGHER_IS_BETTER = {"<figure>": False}.
    """
    if name in _NAMED:
        return _NAMED[name]
    for kind in ("metric", "measure"):
        if name in registry.names(kind):
            return _constant(_file(kind, name))
    return _of_heads().get(name)


@functools.cache
def _of_heads() -> dict[str, bool]:
    """What the heads say of their own figures."""
    found: dict[str, bool] = {}
    for name in registry.names("head"):
        stated = _stated(_file("head", name))
        found |= stated if isinstance(stated, dict) else {}
    return found


def orientation(name: str) -> float:
    """-1 where less is better, else 1."""
    return -1.0 if higher_is_better(name) is False else 1.0


def _file(kind: str, name: str) -> Path:
    package = importlib.util.find_spec(registry.PACKAGES[kind])
    assert package and package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / f"{name}.py"


def _constant(path: Path) -> bool | None:
    """The truth or None that a metric or measure states."""
    stated = _stated(path)
    return stated if isinstance(stated, bool) else None


def _stated(path: Path) -> bool | dict[str, bool] | None:
    """The value assigned to HIGHER_IS_BETTER at the top level, alone or in `TAKES, HIGHER_IS_BETTER = "rows", True`."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
            continue
        target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
        pairs = [(target, statement.value)]
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            pairs = list(zip(target.elts, statement.value.elts))
        for name, value in pairs:
            if isinstance(name, ast.Name) and name.id == CONSTANT:
                stated: bool | dict[str, bool] | None = ast.literal_eval(value)
                return stated
    return None
