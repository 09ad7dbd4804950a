"""A system at another size: which keys change, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from flows.scale import scaled
from stages.common.errors import UserError

PLAN: dict[str, Any] = {
    "corpora": {"c": {"limit": {}}},
    "encoders": {
        "m_one": {"epochs": 9, "backbone": {"name": "resnet", "width": 16}},
        "m_two": {"epochs": 9, "backbone": {"name": "resnet", "width": 16}},
        "other": {"epochs": 9},
    },
    "systems": {"m": {"scale": {"smoke": {"set": {"encoders.m_*.epochs": 1, "corpora.*.limit.train": 8}}}}},
}


def with_keys(**keys: Any) -> dict[str, Any]:
    return {**PLAN, "systems": {"m": {"scale": {"smoke": {"set": {k.replace("__", "."): v for k, v in keys.items()}}}}}}


def test_keys_are_set_in_every_node_that_the_pattern_names_and_nowhere_else() -> None:
    found = scaled(PLAN, "m", "smoke")
    assert [found["encoders"][name]["epochs"] for name in ("m_one", "m_two", "other")] == [1, 1, 9]
    assert found["corpora"]["c"]["limit"] == {"train": 8}
    assert PLAN["encoders"]["m_one"]["epochs"] == 9 and PLAN["corpora"]["c"]["limit"] == {}


def test_a_grid_is_replaced_whole() -> None:
    plan = {**with_keys(grids__g={"encoders.other.epochs": [1]}), "grids": {"g": {"encoders.other.epochs": [1, 2, 3]}, "h": {}}}
    assert scaled(plan, "m", "smoke")["grids"] == {"g": {"encoders.other.epochs": [1]}, "h": {}}
    with pytest.raises(UserError, match="unknown section 'grids'"):
        scaled({**plan, "grids": {}}, "m", "smoke")


def test_small_is_the_recipe_itself() -> None:
    assert scaled(PLAN, "m", "small") == PLAN


def test_a_part_is_replaced_whole_and_a_key_of_it_alone() -> None:
    found = scaled(with_keys(encoders__m_one__backbone={"name": "vit"}, encoders__m_two__backbone__width=64), "m", "smoke")
    assert found["encoders"]["m_one"]["backbone"] == {"name": "vit"}
    assert found["encoders"]["m_two"]["backbone"] == {"name": "resnet", "width": 64}


@pytest.mark.parametrize(
    ("size", "plan", "what"),
    [
        ("smok", PLAN, "unknown size 'smok'"),
        ("smoke", with_keys(encoder__m_one__epochs=1), "unknown section 'encoder'"),
        ("smoke", with_keys(encoders__x_one__epochs=1), "'encoders.x_one.epochs' names no key of a node"),
        ("smoke", with_keys(encoders__m_one=1), "'encoders.m_one' names no key of a node"),
        ("smoke", with_keys(encoders__m_one__epochs__k=1), "'epochs' holds one value, no keys"),
    ],
)
def test_what_names_nothing_is_the_users_mistake(size: str, plan: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError) as caught:
        scaled(plan, "m", size)
    assert caught.value.what.startswith(what)
