"""A toy plan and toy parts, so that tests of plans depend on no real part."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.common import registry

PART = """
from __future__ import annotations
from stages.common.registry import part

@part
class Plain:
    def __init__(self, *handed: object, strength: float = 0.5, size: int = 1) -> None:
        self.strength = strength
"""

PLAN: dict[str, Any] = {
    "corpora": {
        "digits": {
            "title": "Digits",
            "source": {"name": "plain"},
            "reader": {"name": "plain"},
            "labels": {"digit": {"kind": "class"}},
        }
    },
    "encoders": {
        "a": {
            "corpus": "digits",
            "parent": "corpora/digits",
            **{kind: {"name": "plain"} for kind in ("frontend", "backbone", "views", "objective")},
        }
    },
    "features": {"a": {"encoder": "a", "corpus": "digits", "views": {"name": "plain"}}},
    "tasks": {
        "probe": {
            "system": "toy",
            "corpus": "digits",
            "features": "a",
            "support": "features/a",
            "head": {"name": "plain"},
            "label": "digit",
            "labels": ["5", "all"],
        },
        "control": {"system": "toy", "corpus": "digits", "features": "a", "support": "features/a", "head": {"name": "plain"}},
    },
    "systems": {
        "toy": {
            "title": "Toy",
            "claims": {"better": {"says": "it is better", "metric": "accuracy", "order": ["probe", "control"]}},
        }
    },
}


def plan_with(**changes: Any) -> dict[str, Any]:
    """A copy of the toy plan; `changes` are paths with `__` for the dot: encoders__a__epochs=0."""
    data = copy.deepcopy(PLAN)
    for path, value in changes.items():
        *above, last = path.split("__")
        at = data
        for key in above:
            at = at.setdefault(key, {})
        at[last] = value
    return data


def install_parts(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Replaces every kind's package by one with the parts `plain` and `none`, for the length of a test."""
    for kind in registry.PACKAGES:
        folder = root / f"toy_{kind}"
        folder.mkdir(parents=True)
        for name in ("plain", "none"):
            (folder / f"{name}.py").write_text(PART)
        monkeypatch.setitem(registry.PACKAGES, kind, folder.name)
    monkeypatch.setattr(registry, "_ROOT", root)
    monkeypatch.syspath_prepend(str(root))
    yield root
    for name in [n for n in sys.modules if n.startswith("toy_")]:
        del sys.modules[name]
