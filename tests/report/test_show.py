"""Figures as a reader sees them."""

from __future__ import annotations

import pytest

from stages.report import forest, show


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.91349, "0.913"), (23.44, "23.4"), (1279.6, "1,280"), (3.1e-5, "3.1e-05"), (-0.5, "−0.500"), (12, "12"), (0.0, "0.000")],
)
def test_a_figure_has_about_four_digits(value: float, text: str) -> None:
    assert show.number(value) == text


def test_what_is_missing_is_a_dash() -> None:
    assert {f(None) for f in (show.number, show.signed, show.duration, show.memory)} == {show.NOTHING}
    assert show.number(float("nan")) == show.number("text") == show.NOTHING


def test_signs_durations_sizes_and_spreads() -> None:
    assert [show.signed(v) for v in (0.25, -0.25)] == ["+0.250", "−0.250"]
    assert [show.duration(v) for v in (4.24, 190, 7500)] == ["4.2 s", "3 min 10 s", "2 h 5 min"]
    assert [show.memory(v) for v in (128.4, 2048)] == ["128 MiB", "2.0 GiB"]
    assert [show.spread(1.163, 39.8), show.spread(0.0134, 0.913), show.spread(None, 1.0)] == ["1.2", "0.013", show.NOTHING]


def test_label_shares_read_as_words_and_sort_from_few_to_all() -> None:
    assert [show.share(s) for s in ("5", "10%", "all")] == ["5 per class", "10%", "all"]
    assert [show.labels(s) for s in ("5", "10%", "all")] == ["5 labels per class", "10% of the labels", "all labels"]
    assert sorted(["all", "10%", "20", "5", "1%"], key=show.rank) == ["5", "20", "1%", "10%", "all"]


def test_an_arrow_points_to_better_and_is_left_out_where_neither_way_is() -> None:
    assert [show.better(v) for v in (True, False, None)] == ["↑", "↓", ""]


def test_interval_marks_share_one_scale_with_zero_and_the_threshold_inside() -> None:
    wide = {"estimate": 0.2, "low": 0.1, "high": 0.3}
    open_ended = {"estimate": -0.1, "low": None, "high": None}
    first, second = forest.marks([wide, open_ended], 0.05)
    inside = forest.WIDTH - 2 * forest.PAD
    assert second.at == forest.PAD and first.high == forest.PAD + inside
    assert first.threshold == second.threshold == pytest.approx(forest.PAD + inside * 0.15 / 0.4, abs=0.1)
    assert (second.low, second.high) == (None, None)
    assert forest.marks([{"estimate": 0.0, "low": 0.0, "high": 0.0}], 0.0)[0].at == forest.PAD
