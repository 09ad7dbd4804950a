"""The arithmetic of the table: paired ratios, medians, what an item costs, aims and by how much they are missed."""

from __future__ import annotations

import pytest

from benchmarks.core import row
from benchmarks.core.case import Case, Line, Way, at_least, at_most, within
from tests.benchmarks import ways


def case(line: Line, **items: float) -> Case:
    return Case("c", {name: Way(f"way {name}", ways.says, items=n) for name, n in items.items()}, (line,))


def rounds(**seconds: list[float]) -> dict[str, list[dict[str, float]]]:
    return {name: [{"seconds": s, "cpu_s": 2 * s, "peak_mb": 100 * s} for s in values] for name, values in seconds.items()}


def test_the_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians() -> None:
    line = Line("w", "a", ("b",))
    made = row.of("m", case(line, a=1, b=1), line, rounds(a=[1.0, 2.0, 4.0], b=[10.0, 2.0, 12.0]))
    assert (made.ratio, made.low, made.high) == (3.0, 1.0, 10.0)  # of the medians it would be 10 / 2
    assert made.range == "3.000 [1.000, 10]"


def test_speed_is_theirs_over_ours_and_cost_ours_over_theirs() -> None:
    assert row.paired([1.0], [4.0], "speed") == [4.0]
    assert row.paired([1.0], [4.0], "cost") == [0.25]


def test_measures_are_of_an_item_but_memory_is_not() -> None:
    line = Line("w", "a", ("b",), "cost")
    made = row.of("m", case(line, a=100, b=10), line, rounds(a=[10.0], b=[1.0]))
    assert made.ratio == 1.0
    line = Line("w", "a", ("b",), "cost", measure="peak_mb")
    made = row.of("m", case(line, a=100, b=10), line, rounds(a=[10.0], b=[1.0]))
    assert made.ratio == 10.0
    assert made.what == "w; 1000 MiB"


def test_of_several_peers_the_better_one_counts() -> None:
    line = Line("w", "a", ("b", "c"))
    made = row.of("m", case(line, a=1, b=1, c=1), line, rounds(a=[1.0] * 3, b=[5.0, 6.0, 7.0], c=[4.0, 4.0, 90.0]))
    assert (made.against, made.ratio, made.high) == ("way c", 4.0, 90.0)


def test_of_several_peers_with_unequal_work_the_better_by_the_item_counts() -> None:
    line = Line("w", "a", ("b", "c"))
    made = row.of("m", case(line, a=1, b=1, c=10), line, rounds(a=[1.0], b=[3.0], c=[20.0]))
    assert (made.against, made.ratio) == ("way c", 2.0)


def test_a_peer_may_be_measured_otherwise_and_a_limit_is_a_peer() -> None:
    line = Line("w", "a", ("a",), "cost", at_most(0.05), "cpu_s", "peak_mb")
    made = row.of("m", case(line, a=1), line, rounds(a=[1.0]))
    assert made.ratio == 0.02
    line = Line("w", "a", ratio="cost", aim=at_most(1), limit=2.5)
    made = row.of("m", case(line, a=1), line, rounds(a=[5.0]))
    assert (made.ratio, made.against, made.met) == (2.0, "a limit of 2.5 s", False)


@pytest.mark.parametrize(
    ("aim", "ratio", "met", "short"),
    [
        (at_least(2), 2.0, True, ""),
        (at_least(2), 1.5, False, "short by 25%"),
        (at_least(0.97), 0.95, False, "short by 2.1%"),
        (at_most(1.2), 1.2, True, ""),
        (at_most(1.2), 1.8, False, "over by 50%"),
        (at_most(0), 0.1, False, "above 0 by 0.1"),
        (within(0.1), 0.95, True, ""),
        (within(0.1), 1.09, True, ""),
        (within(0.1), 1.3, False, "off by 30%"),
        (within(0.1), 0.7, False, "off by 30%"),
    ],
)
def test_an_aim_is_met_or_missed_by_so_much(aim, ratio, met, short) -> None:  # type: ignore[no-untyped-def]
    assert aim.met(ratio) is met
    line = Line("w", "a", aim=aim, why="a reason")
    assert row.verdict(line, ratio) == ("met" if met else f"{short}: a reason")


def test_without_an_aim_nothing_is_met_or_missed() -> None:
    line = Line("w", "a", ("b",))
    made = row.of("m", case(line, a=1, b=1), line, rounds(a=[1.0], b=[1.0]))
    assert (made.met, made.verdict, made.aim) == (None, "no aim", "")


def test_the_version_of_what_is_compared_with_is_named() -> None:
    import torch

    assert row.shown(Way("svd", ways.says, needs=("torch",))) == f"svd (torch {torch.__version__})"
