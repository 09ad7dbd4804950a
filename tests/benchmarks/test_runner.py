"""A case in its processes: turns, rounds, what agrees, what is missing, what fails."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from benchmarks.core import runner
from benchmarks.core.case import Case, Line, Options, Way, at_least
from benchmarks.core.session import WayFailed
from tests.benchmarks import ways

PLAIN, QUICK = Options(), Options(quick=True)


def of(a: Way, b: Way, **more: object) -> Case:
    return Case("c", {"a": a, "b": b}, (Line("w", "a", ("b",), aim=at_least(2)),), **{"rounds": 3, **more})  # type: ignore[arg-type]


COUNTING = of(Way("a", ways.counts, {"start": 1.0}), Way("b", ways.counts, {"start": 10.0}))


def test_rounds_are_paired_and_warm_ones_left_out() -> None:
    found = runner.measure(COUNTING, COUNTING.ways, PLAIN)
    assert [run["seconds"] for run in found["a"]] == [2.0, 3.0, 4.0]
    assert [run["seconds"] for run in found["b"]] == [11.0, 12.0, 13.0]
    pids = {name: {run["pid"] for run in runs} for name, runs in found.items()}
    assert [len(p) for p in pids.values()] == [1, 1] and pids["a"] != pids["b"]
    made = runner.rows("m", COUNTING, PLAIN, "rev")
    assert [(r.ratio, r.rounds, r.revision, r.met) for r in made] == [(4.0, 3, "rev", True)]


def test_the_order_turns_from_round_to_round_and_files_are_prepared_and_shared() -> None:
    case = of(Way("a", ways.writes, {"text": "a"}), Way("b", ways.writes, {"text": "b"}))
    case = replace(case, prepare=ways.prepares, arguments={"text": "-"}, warm=0)
    found = runner.measure(case, case.ways, PLAIN)
    assert found["b"][-1]["log"] == "-" + "ab" + "ba" + "ab"


def test_a_fresh_case_has_a_process_a_run_and_its_memory_is_its_own() -> None:
    case = of(Way("a", ways.holds, {"mib": 300}), Way("b", ways.holds, {"mib": 10}), fresh=True, rounds=1)
    found = runner.measure(case, case.ways, PLAIN)
    more = found["a"][0]["peak_mb"] - found["b"][0]["peak_mb"]
    assert 280 < more < 310


def test_the_peak_of_a_run_forgets_that_of_the_run_before() -> None:
    case = of(Way("a", ways.holds_less, {"mib": [300, 10]}), Way("b", ways.holds_less, {"mib": [10, 10]}), rounds=2, warm=0)
    found = runner.measure(case, case.ways, PLAIN)["a"]  # in a process of its own: another may keep what it had freed
    assert found[0]["peak_mb"] - found[1]["peak_mb"] > 250


def test_values_that_are_functions_are_asked_for_when_the_clock_has_stopped() -> None:
    from benchmarks.core.session import measured

    found = measured(lambda: {"value": lambda: time.sleep(0.3) or 5})
    assert found["value"] == 5 and found["seconds"] < 0.25


def test_quick_runs_once_and_says_nothing_of_speed() -> None:
    (made,) = runner.rows("m", COUNTING, QUICK)
    assert (made.rounds, made.verdict, made.met, made.ratio) == (1, "ran", None, 10.0)
    (made,) = runner.rows("m", replace(COUNTING, slow=True), QUICK)
    assert (made.ratio, made.verdict) == (None, "not run: --quick leaves it out")


@pytest.mark.parametrize(("other", "agrees"), [(1.0005, True), (1.01, False), ("1.0", False)])
def test_ways_that_do_not_give_the_same_have_no_ratio(other: object, agrees: bool) -> None:
    said = {"seconds": 1.0, "value": 1.0}
    case = of(Way("a", ways.says, said), Way("b", ways.says, {**said, "value": other}), same=("value",), tolerance=1e-3)
    (made,) = runner.rows("m", case, QUICK)
    assert (made.ratio is not None) is agrees
    assert agrees or made.verdict.startswith("FAILED: value of 'a' is 1.0, of 'b'")


def test_a_missing_peer_is_told_in_its_lines_and_the_others_are_measured() -> None:
    absent = Way("c", ways.says, {"seconds": 1.0}, needs=("no-such-library",))
    said = Way("a", ways.says, {"seconds": 1.0})
    case = Case("c", {"a": said, "b": said, "x": absent}, (Line("one", "a", ("b",)), Line("two", "a", ("b", "x"))), rounds=1)
    one, two = runner.rows("m", case, PLAIN)
    assert one.ratio == 1.0
    assert (two.ratio, two.verdict) == (None, "no peer: no-such-library not installed (`make bench` does it)")


def test_a_way_that_raises_or_dies_fails_its_lines() -> None:
    said = Way("a", ways.says, {"seconds": 1.0})
    (made,) = runner.rows("m", of(said, Way("b", ways.fails)), QUICK)
    assert made.verdict.startswith("FAILED: b: Traceback") and "it broke here" in made.verdict
    with pytest.raises(WayFailed, match="b: its process ended with 7"):
        runner.measure(of(said, Way("b", ways.dies)), {"b": Way("b", ways.dies)}, QUICK)
