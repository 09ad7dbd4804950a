"""What a plan itself says of leaks: an encoder trained on what a task that rests on it is judged on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.common import leakage, plan
from stages.common.errors import UserError
from stages.common.plan import Plan
from stages.common.schema import build
from tests.toy import install_parts, plan_with

ALL = ["train", "valid", "test"]
TRAINED = {"encoders__a__objective": {"name": "plain"}, "encoders__a__epochs": 1}


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from install_parts(tmp_path / "parts", monkeypatch)


def checked(**changes: Any) -> Plan:
    whole = build(Plan, plan_with(**TRAINED | changes), "params.yaml")
    plan.validate(whole)
    return whole


def with_student(**teacher: Any) -> dict[str, Any]:
    """Changes that put a teacher above the encoder `a`."""
    return {"encoders__t": {**plan_with(**TRAINED)["encoders"]["a"], **teacher}, "encoders__a__parent": "encoders/t"}


def test_training_on_the_test_split_of_a_task_is_refused_and_named() -> None:
    with pytest.raises(UserError) as caught:
        checked(encoders__a__splits=ALL)
    assert caught.value.what == "it trains on the split 'test', on which the task 'probe' is judged"
    assert caught.value.where == "encoders.a.splits"


def test_so_is_a_teachers() -> None:
    with pytest.raises(UserError) as caught:
        checked(**with_student(splits=ALL))
    assert caught.value.where == "encoders.t.splits"


@pytest.mark.parametrize(
    "changes",
    [
        {"encoders__a__splits": ALL, "encoders__a__transductive": True},
        {"encoders__a__splits": ["train", "valid"]},
        {"encoders__a__splits": ALL, "encoders__a__epochs": 0},
        {"encoders__a__splits": ALL, "encoders__a__objective": {"name": "none"}},
    ],
)
def test_what_is_declared_or_does_not_train_passes(changes: dict[str, Any]) -> None:
    checked(**changes)


def test_encoders_of_a_task_are_those_of_its_features_of_its_support_and_of_their_parents() -> None:
    other = plan_with(**TRAINED)["encoders"]["a"]
    whole = checked(**with_student(), encoders__b=other, encoders__c=other, tasks__probe__support="encoders/b")
    assert leakage.encoders("probe", whole) == {"a", "b", "t"}
    whole = checked(encoders__b=other, tasks__probe__support="encoders/b", tasks__control__support="tasks/toy/probe")
    assert leakage.encoders("control", whole) == {"a", "b"}
