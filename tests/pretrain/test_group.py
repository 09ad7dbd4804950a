"""Groups of ranks on a cluster, against a cluster that loses and keeps them as told."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.common.compute import RanksPlan, RayPlan
from stages.common.errors import PassingError, UserError
from stages.pretrain.core.group import Group


class RayError(Exception):
    pass


class Lost(RayError):
    pass


class Failed(RayError):
    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Cluster:
    """Answers of share(), attempt by attempt and rank by rank; an exception is raised where it is asked for."""

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=Lost, RayTaskError=Failed)

    def __init__(self, *attempts: list[Any]) -> None:
        self.attempts, self.started, self.killed = list(attempts), 0, 0

    def remote(self, task: Any, rank: int, ranks: int) -> Any:
        attempt = self.attempts[self.started // ranks]
        self.started += 1
        place = SimpleNamespace(remote=lambda: ("host", 5000 + rank))
        return SimpleNamespace(place=place, share=SimpleNamespace(remote=lambda seeds, host, port: attempt[rank]))

    def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return calls[:num_returns], calls[num_returns:]

    def get(self, call: Any) -> Any:
        if isinstance(call, Exception):
            raise call
        return call

    def kill(self, actor: Any) -> None:
        self.killed += 1


def group_of(cluster: Cluster, plan: RayPlan, out: Path, seeds: list[int]) -> Group:
    """Two ranks that may start twice again."""
    task, remote = SimpleNamespace(out=str(out)), SimpleNamespace(remote=cluster.remote)
    return Group(cluster, remote, plan, RanksPlan(2, restarts=2), task, seeds, threading.Event())  # type: ignore[arg-type]


def run(cluster: Cluster, out: Path) -> Any:
    group = group_of(cluster, RayPlan(), out, [0, 1])
    try:
        return group.run()
    finally:
        assert cluster.killed == cluster.started


def test_the_outcomes_are_those_of_rank_0(tmp_path: Path) -> None:
    cluster = Cluster([["zero"], ["one"]])
    assert run(cluster, tmp_path) == ["zero"]


def test_a_group_that_loses_a_rank_starts_again_without_what_it_had_exported(tmp_path: Path) -> None:
    (tmp_path / "seed=0").mkdir()
    cluster = Cluster([Lost("gone"), ["one"]], [["zero"], ["one"]])
    assert run(cluster, tmp_path) == ["zero"]
    assert cluster.started == 4 and not (tmp_path / "seed=0").exists()


def test_a_broken_connection_is_the_loss_of_the_peer_that_broke_it(tmp_path: Path) -> None:
    cluster = Cluster([Failed(RuntimeError("connection closed by peer")), Lost("gone")], [["zero"], ["one"]])
    assert run(cluster, tmp_path) == ["zero"]


def test_an_error_of_ours_is_not_tried_again(tmp_path: Path) -> None:
    cluster = Cluster([Failed(ZeroDivisionError("ours")), ["one"]])
    with pytest.raises(ZeroDivisionError, match="ours"):
        run(cluster, tmp_path)
    assert cluster.started == 2


def test_a_users_mistake_is_raised_as_it_was(tmp_path: Path) -> None:
    mistake = UserError("the loss is not finite", where="encoders.e", do="lower the rate")
    with pytest.raises(UserError) as caught:
        run(Cluster([mistake, mistake]), tmp_path)
    assert caught.value is mistake


def test_ranks_that_are_lost_too_often_are_an_error_that_may_pass(tmp_path: Path) -> None:
    cluster = Cluster(*[[Lost("out of memory"), Lost("out of memory")]] * 3)
    with pytest.raises(PassingError, match="were lost 3 times: out of memory"):
        run(cluster, tmp_path)
    assert cluster.started == 6


def test_ranks_that_find_no_room_in_time_are_an_error_that_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster([["zero"], ["one"]])
    monkeypatch.setattr(cluster, "wait", lambda calls, num_returns, timeout: ([], calls))
    with pytest.raises(PassingError, match=r"no room for 2 ranks of the seeds \[0\] in 0.01 s"):
        group_of(cluster, RayPlan(patience_s=0.01), tmp_path, [0]).run()
