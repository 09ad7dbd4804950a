from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows import steps as module
from flows.dag import Node
from flows.runner import Runner
from flows.slots import Grant, Slots
from flows.steps import StageFailed, Steps, attempt, is_passing, log_path
from flows.worker import Finished
from stages.common.workspace import Workspace


class FakeDag:
    """Nodes a -> b -> c and d; `stale` ones have changed, `kept` ones are in the run cache."""

    def __init__(self, stale: str = "abcd", kept: str = "") -> None:
        self.stale, self.kept, self.committed = set(stale), set(kept), []  # type: ignore[var-annotated]
        ups = {"a": (), "b": ("a",), "c": ("b",), "d": ()}
        self.nodes = [Node(n, f"run {n}", (), (), up) for n, up in ups.items()]  # type: ignore[arg-type]

    def changed(self, node: Node) -> bool:
        return node.name in self.stale

    def restore(self, node: Node, *, force: bool = False) -> bool:
        return not force and node.name in self.kept

    def commit(self, node: Node) -> None:
        self.committed.append(node.name)

    def flush(self, older_than: float = 0.0) -> None:
        pass

    def environment(self, node: Node) -> dict[str, str]:
        return {}

    def busy(self, node: Node):  # type: ignore[no-untyped-def]
        import contextlib

        return contextlib.nullcontext()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[Finished]]], list[str]]:
    """Replaces the worker: a command ends as its list says, one entry per try, else well."""

    def install(ends: dict[str, list[Finished]]) -> list[str]:
        ran: list[str] = []

        def run(
            command: str, root: Path, log: Path, say: Callable[[str], None], environment: object, **more: object
        ) -> Finished:
            ran.append(command)
            say(f"saying {command}")
            mine = ends.get(command, [])
            return mine.pop(0) if mine else Finished(0, 0.0, log)

        monkeypatch.setattr(module.worker, "run", run)
        return ran

    return install


def _steps(dag: FakeDag, tmp_path: Path, **more: object) -> Steps:
    return Steps(dag, Workspace(tmp_path), dag.nodes, retry_delay_s=0.001, **more)  # type: ignore[arg-type]


def serially(steps: Steps, *, keep_going: bool = True) -> None:
    Runner(steps, Slots(1), {}, keep_going).run(lambda node, grant: attempt(steps, node, grant))


def _ended(code: int, error: str = "") -> Finished:
    return Finished(code, 0.0, Path("log"), error)


def test_each_node_is_cached_restored_or_run_and_only_what_ran_is_committed(tmp_path: Path, commands) -> None:  # type: ignore[no-untyped-def]
    ran, dag, heard = commands({}), FakeDag(stale="bcd", kept="c"), []  # type: ignore[var-annotated]
    steps = _steps(dag, tmp_path, say=lambda name, line: heard.append((name, line)))
    serially(steps)
    assert {s.name: s.state for s in steps.done.values()} == {"a": "cached", "b": "ran", "c": "restored", "d": "ran"}
    assert ran == ["run b", "run d"]
    assert dag.committed == ["b", "d"]
    assert heard == [("b", "saying run b"), ("d", "saying run d")]


def test_force_runs_what_is_up_to_date_and_what_is_in_the_cache(tmp_path: Path, commands) -> None:  # type: ignore[no-untyped-def]
    ran = commands({})
    serially(_steps(FakeDag(stale="", kept="abcd"), tmp_path, force=True))
    assert ran == ["run a", "run b", "run c", "run d"]


def test_what_follows_a_failed_node_is_skipped_and_the_rest_goes_on(tmp_path: Path, commands) -> None:  # type: ignore[no-untyped-def]
    commands({"run a": [_ended(2, "a column is missing\n  where: x.csv")]})
    dag = FakeDag()
    steps = _steps(dag, tmp_path)
    serially(steps)
    assert {s.name: s.state for s in steps.done.values()} == {"a": "failed", "b": "skipped", "c": "skipped", "d": "ran"}
    assert "where: x.csv" in steps.done["a"].error
    assert dag.committed == ["d"]


def test_after_a_failure_what_is_up_to_date_is_said_to_be_so_and_nothing_is_started(tmp_path: Path, commands) -> None:  # type: ignore[no-untyped-def]
    ran = commands({"run a": [_ended(2, "bad data")]})
    steps = _steps(FakeDag(stale="a"), tmp_path)
    assert [node.name for node in steps.pending()] == ["a", "b", "c"]
    serially(steps, keep_going=False)
    assert {s.name: s.state for s in steps.done.values()} == {"a": "failed", "b": "skipped", "c": "skipped", "d": "cached"}
    assert steps.done["c"].error == "needs a, which failed"
    assert ran == ["run a"]


def test_pending_holds_the_changed_nodes_and_all_that_follow_them(tmp_path: Path) -> None:
    assert [n.name for n in _steps(FakeDag(stale="b"), tmp_path).pending()] == ["b", "c"]
    assert _steps(FakeDag(stale=""), tmp_path).pending() == []


@pytest.mark.parametrize(
    ("first", "tries"),
    [
        (_ended(-9), 2),
        (_ended(1, "OSError: [Errno 5] Input/output error"), 2),
        (_ended(1, "requests.exceptions.ConnectionError: refused"), 2),
        (_ended(2, "OSError: it says, but it is the user's mistake"), 1),
        (_ended(1, "ValueError: a defect of ours"), 1),
        (_ended(75, "a worker process was killed"), 2),
        (Finished(-9, 0.0, Path("log"), overtime=True), 2),
        (_ended(130), 1),
    ],
)
def test_only_what_can_pass_is_tried_again(tmp_path: Path, commands, first: Finished, tries: int) -> None:  # type: ignore[no-untyped-def]
    ran = commands({"run a": [first]})
    dag = FakeDag()
    step = attempt(_steps(dag, tmp_path), dag.nodes[0], Grant(limit_s=1.0))
    assert len(ran) == tries
    assert step.state == ("ran" if tries == 2 else "failed")


def test_a_passing_error_that_stays_is_a_failure(tmp_path: Path, commands) -> None:  # type: ignore[no-untyped-def]
    ran = commands({"run a": [_ended(-9)] * 3})
    dag = FakeDag()
    step = attempt(_steps(dag, tmp_path), dag.nodes[0], Grant(limit_s=1.0))
    assert (step.state, len(ran)) == ("failed", 3)
    assert "signal 9" in step.error


def test_errors_are_told_by_the_name_in_the_last_line() -> None:
    assert is_passing("FileNotFoundError: x")
    assert is_passing("urllib3.exceptions.ReadTimeoutError: x")
    assert not is_passing("ContractError: OSError inside")
    assert not is_passing("")


def test_a_failure_names_its_log(tmp_path: Path) -> None:
    assert "log: a.log" in str(StageFailed("a", "x", passing=False, log=Path("a.log")))
    assert log_path(Workspace(Path()), "pretrain@simclr") == Path(".prelude/logs/pretrain/simclr.log")
    assert log_path(Workspace(Path()), "report") == Path(".prelude/logs/report/report.log")
