"""`compute=ray` as a group of the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import compose
from stages.common.compute import RayPlan
from stages.common.errors import UserError

ROOT = Path(__file__).parents[2]


def test_a_cluster_changes_no_node_of_the_plan_and_its_group_holds_the_defaults() -> None:
    local, _ = compose.make(ROOT, ["quickstart"])
    ray, typed = compose.make(ROOT, ["quickstart"], ["compute=ray"])
    assert typed.compute.ray == RayPlan()
    assert ray.pop("compute").pop("ray").keys() == vars(RayPlan()).keys()
    local.pop("compute")
    assert ray == local


def test_numbers_that_a_cluster_cannot_do_with_are_refused() -> None:
    with pytest.raises(UserError, match="object_store_mb must be 1 or more, got 0"):
        compose.make(ROOT, ["quickstart"], ["compute=ray", "compute.ray.object_store_mb=0"])
    with pytest.raises(UserError, match="unknown key 'retry'"):
        compose.make(ROOT, ["quickstart"], ["compute=ray", "+compute.ray.retry=2"])
