from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import worker
from flows.dag import Node
from flows.runner import Runner, by_urgency
from flows.slots import Grant, Need, Slots
from flows.steps import StageFailed, Step, Steps
from stages.common.workspace import Workspace

EVENT_S = 20.0


class NoDag:
    def flush(self, older_than: float = 0.0) -> None:
        pass


def graph(**upstream: str) -> list[Node]:
    """`graph(a="", b="a", c="a b")`: nodes in that order."""
    return [Node(name, name, (), (), tuple(ups.split())) for name, ups in upstream.items()]


class World:
    """Takes nodes without commands: `hold` keeps one running until `let`, `fail` makes it fail; notes who ran beside whom."""

    def __init__(self, tmp_path: Path, nodes: list[Node], slots: Slots, needs: dict[str, Need] | None = None, **more: bool):
        self.steps = Steps(NoDag(), Workspace(tmp_path), nodes)  # type: ignore[arg-type]
        self.runner = Runner(self.steps, slots, needs or {}, **more)
        self.failing: set[str] = set()
        self.gates: dict[str, threading.Event] = {}
        self.started: dict[str, Grant] = {}
        self.most = 0
        self._now: set[str] = set()
        self._change = threading.Condition()

    def hold(self, *names: str) -> None:
        self.gates |= {name: threading.Event() for name in names}

    def take(self, node: Node, grant: Grant) -> None:
        with self._change:
            self.started[node.name] = grant
            self._now.add(node.name)
            self.most = max(self.most, len(self._now))
            self._change.notify_all()
        gate = self.gates.get(node.name)
        while gate is not None and not gate.wait(0.01):
            if self.steps.stop.is_set():
                raise worker.Stopped(node.name)
        with self._change:
            self._now.discard(node.name)
        if node.name in self.failing:
            self.steps.fail(node, StageFailed(node.name, "broken", passing=False))
        else:
            self.steps._done(Step(node.name, "ran"))

    def wait_for(self, *names: str) -> None:
        with self._change:
            assert self._change.wait_for(lambda: set(names) <= self.started.keys(), EVENT_S), self.started

    def run(self, meanwhile: Callable[[], None] = lambda: None) -> dict[str, str]:
        """Runs, with `meanwhile` in another thread; returns the states."""
        errors: list[BaseException] = []

        def act() -> None:
            try:
                meanwhile()
            except BaseException as error:
                errors.append(error)
            finally:
                for gate in self.gates.values():
                    gate.set()

        thread = threading.Thread(target=act)
        thread.start()
        try:
            self.runner.run(self.take)
        finally:
            thread.join()
        assert not errors, errors
        return {name: step.state for name, step in self.steps.done.items()}


def test_independent_nodes_run_side_by_side_and_a_node_waits_for_all_it_needs(tmp_path: Path) -> None:
    world = World(tmp_path, graph(a="", b="", c="a b", d="c"), Slots(4))
    world.hold("a", "b")

    def meanwhile() -> None:
        world.wait_for("a", "b")
        world.gates["a"].set()
        time.sleep(0.3)  # c could start now if it did not wait for b
        assert "c" not in world.started

    assert world.run(meanwhile) == dict.fromkeys("abcd", "ran")
    assert list(world.steps.done) == ["a", "b", "c", "d"]


def test_no_more_run_at_once_than_there_are_cores(tmp_path: Path) -> None:
    nodes = [Node(f"n{i}", "", (), (), ()) for i in range(12)]
    world = World(tmp_path, nodes, Slots(3))
    world.hold(*(n.name for n in nodes))
    world.run(lambda: (world.wait_for("n0", "n1", "n2"), time.sleep(0.1))[0])
    assert world.most == 3
    assert world.runner.slots.cores == 3


def test_gpus_are_handed_out_by_number_and_one_at_a_time(tmp_path: Path) -> None:
    needs = {name: Need(gpus=1) for name in "abc"}
    world = World(tmp_path, graph(a="", b="", c=""), Slots(8, [0, 1]), needs)
    world.hold("a", "b")

    def meanwhile() -> None:
        world.wait_for("a", "b")
        assert {world.started["a"].gpus, world.started["b"].gpus} == {(0,), (1,)}
        assert "c" not in world.started

    world.run(meanwhile)
    assert world.started["c"].environment()["CUDA_VISIBLE_DEVICES"] in ("0", "1")
    assert world.runner.slots.gpus == [0, 1]


def test_a_failure_stops_new_starts_but_lets_finish_what_runs(tmp_path: Path) -> None:
    world = World(tmp_path, graph(bad="", long="", after="bad", other="long"), Slots(2))
    world.failing = {"bad"}
    world.hold("long")
    states = world.run(lambda: world.wait_for("bad", "long"))
    assert states == {"bad": "failed", "long": "ran", "after": "skipped", "other": "skipped"}
    assert world.steps.done["after"].error == "needs bad, which failed"
    assert world.steps.done["other"].error == "not started after bad failed; --keep-going would"


def test_keep_going_finishes_every_branch_that_does_not_depend_on_the_failure(tmp_path: Path) -> None:
    nodes = graph(bad="", good="", after="bad", last="after good", other="good")
    world = World(tmp_path, nodes, Slots(2), keep_going=True)
    world.failing = {"bad"}
    assert world.run() == {"bad": "failed", "good": "ran", "other": "ran", "after": "skipped", "last": "skipped"}
    assert world.steps.done["last"].error == "needs bad, which failed"


def test_stopping_ends_what_runs_and_is_raised(tmp_path: Path) -> None:
    world = World(tmp_path, graph(a="", b="a"), Slots(2))
    world.hold("a")

    def meanwhile() -> None:
        world.wait_for("a")
        world.steps.why_stopped = "cancelled in Prefect"
        world.steps.stop.set()

    with pytest.raises(worker.Stopped):
        world.run(meanwhile)
    assert "b" not in world.started
    assert world.steps.why_stopped == "cancelled in Prefect"


def test_an_error_of_ours_in_one_node_stops_the_others_and_is_raised(tmp_path: Path) -> None:
    world = World(tmp_path, graph(a="", b=""), Slots(2))
    world.hold("a")
    plain = world.take

    def take(node: Node, grant: Grant) -> None:
        if node.name == "b":
            world.wait_for("a")
            raise RuntimeError("a defect")
        plain(node, grant)

    world.take = take  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="a defect"):
        world.runner.run(world.take)
    assert world.steps.stop.is_set()


def test_the_longest_way_to_the_end_goes_first() -> None:
    assert [n.name for n in by_urgency(graph(short="", long="", mid="long", end="mid"))] == ["long", "mid", "short", "end"]


def test_a_lone_node_gets_the_cores_it_can_use_and_leaves_some_when_others_wait(tmp_path: Path) -> None:
    needs = {"alone": Need(1, 3), "x": Need(1, 3), "y": Need(1, 3)}
    world = World(tmp_path, graph(alone="", x="alone", y="alone"), Slots(4), needs)
    world.run()
    assert world.started["alone"].cores == 3
    assert world.started["x"].cores == 2
    assert world.started["alone"].environment() == {"PRELUDE_CORES": "3"}


def test_a_run_may_be_left_and_taken_up_again_while_nodes_go_on(tmp_path: Path) -> None:
    world, later = World(tmp_path, graph(a="", b="a", c=""), Slots(2)), []  # type: ignore[var-annotated]
    world.hold("a")
    world.runner.run(world.take, until=lambda: {"a", "c"} <= world.started.keys())
    assert "a" not in world.steps.done and {node.name for node in world.runner.begun()} == {"a", "c"}
    world.gates["a"].set()

    def take(node: Node, grant: Grant) -> None:
        later.append(node.name)
        world.take(node, grant)

    world.runner.run(take)
    assert later == ["b"] and set(world.steps.done) == {"a", "b", "c"}
    assert world.runner.slots.cores == 2
