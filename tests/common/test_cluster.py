"""The way to a cluster, without one."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from stages.common import cluster
from stages.common.compute import RayPlan
from stages.common.errors import ContractError, PassingError, UserError


def machines(*resources: dict[str, float], alive: bool = True) -> Any:
    return SimpleNamespace(nodes=lambda: [{"Alive": alive, "Resources": r} for r in resources])


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="Ray is not installed") as caught, cluster.joined(RayPlan()):
        pass
    assert caught.value.do == "install the extra: pip install -e '.[ray]'"


def test_room_is_counted_machine_by_machine() -> None:
    three = machines({"CPU": 3.0}, {"CPU": 3.0, "GPU": 1.0}, {})
    assert cluster.fits(three, 1, 0) == 6
    assert cluster.fits(three, 2, 0) == 2  # four cores left over are on two machines
    assert cluster.fits(three, 1, 1) == 1
    with pytest.raises(UserError, match="no machine of the cluster has 4 cores and 0 GPUs"):
        cluster.fits(three, 4, 0)
    with pytest.raises(UserError, match="no machine"):
        cluster.fits(machines({"CPU": 8.0}, alive=False), 1, 0)


def faulty(unit: dict[str, Any]) -> dict[str, Any]:
    if unit["bad"]:
        raise ContractError("the shard is damaged", where="part-00000", do="run it again")
    return {"twice": 2 * unit["n"]}


def test_a_works_answer_and_its_mistakes_pass_as_text() -> None:
    answering = cluster._Answering(faulty)
    good = answering({"unit": 5, "text": '{"bad": false, "n": 4}'})
    assert good == {"unit": 5, "answer": '{"is": {"twice": 8}}'}
    bad = answering({"unit": 6, "text": '{"bad": true}'})
    assert bad["answer"] == '{"error": ["ContractError", "the shard is damaged", "part-00000", "run it again"]}'


def test_a_mistake_in_a_task_is_raised_as_it_was_and_a_lost_task_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class RayError(Exception):
        pass

    class RayTaskError(RayError):
        cause = ValueError("ours")

    def get(call: Any) -> Any:
        if isinstance(call, Exception):
            raise call
        return call

    ray = SimpleNamespace(get=get, exceptions=SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError))
    assert cluster._got(ray, 3, retries=1) == 3
    mistake = cluster._answered(faulty, {"bad": True})
    with pytest.raises(ContractError, match="the shard is damaged"):
        cluster._got(ray, mistake, retries=1)
    with pytest.raises(ValueError, match="ours"):
        cluster._got(ray, RayTaskError("task"), retries=1)
    lost = RayTaskError("owner lost")
    lost.cause = RayError("owner lost")  # type: ignore[assignment]
    for error in (RayError("node lost"), lost):
        with pytest.raises(PassingError, match=r"died more than 1 times: (node|owner) lost"):
            cluster._got(ray, error, retries=1)


def test_without_an_address_no_other_ray_of_this_machine_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    ray = SimpleNamespace(init=lambda **given: asked.append(given), is_initialized=lambda: False, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(cluster._ON_LOOPBACK, "1")
    with cluster.joined(RayPlan()):
        pass
    assert (asked[0]["address"], asked[0]["include_dashboard"], os.environ[cluster._ON_LOOPBACK]) == ("local", False, "0")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with cluster.joined(RayPlan()), cluster.joined(RayPlan(address="auto")):
        pass
    assert [given["address"] for given in asked[1:]] == ["10.0.0.1:6379", "auto"]
