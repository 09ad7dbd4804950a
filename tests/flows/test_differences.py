from __future__ import annotations

from typing import Any

from flows.differences import differences


def test_leaves_that_differ_are_named_by_path_with_both_values() -> None:
    a: dict[str, Any] = {"x": 1, "optim": {"lr": 0.1, "betas": [1, 2]}}
    b: dict[str, Any] = {"y": None, "optim": {"lr": 0.3, "betas": [1, 2]}}
    assert list(differences(a, b)) == ["x: 1 -> nothing", "optim.lr: 0.1 -> 0.3", "y: nothing -> None"]
    assert list(differences(a, b, " / "))[1] == "optim.lr: 0.1 / 0.3"
    assert list(differences(a, a)) == []


def test_a_long_value_is_cut() -> None:
    (said,) = differences({"path": "p" * 99}, {"path": ""})
    assert said == f"path: {'p' * 37}... -> "
