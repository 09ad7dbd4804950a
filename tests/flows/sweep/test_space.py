"""The space of a sweep: what is typed means what it says, and draws can be repeated."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sweep import space
from flows.sweep.space import Axis, Range
from stages.common.errors import UserError

KEY = "encoders.a.objective.strength"
SCALARS = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(alphabet="abcxyz_", min_size=1, max_size=6).filter(lambda w: w not in ("y", "_"))
VALUES = st.recursive(SCALARS | WORDS, lambda inner: st.lists(inner, max_size=3), max_leaves=5)


def mistake(*words: str, draws: int | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        space.points(space.axes(words), draws)
    return caught.value


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_what_is_written_is_read_back_with_its_type(values: list[Any]) -> None:
    read = Axis.of(f"{KEY}={','.join(json.dumps(v) for v in values)}").values
    assert json.dumps(read) == json.dumps(values)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.05,0.1,5e-1", [0.05, 0.1, 0.5]),
        ("1e-4, 1E3 ,.5e1", [1e-4, 1e3, 5.0]),
        ("[1,2],[1e-3]", [[1, 2], [1e-3]]),
        ("simclr,{name: vicreg, hidden: 8}", ["simclr", {"name": "vicreg", "hidden": 8}]),
        ("'a,b',null,true", ["a,b", None, True]),
    ],
)
def test_values_are_yaml_split_at_outer_commas(text: str, values: list[Any]) -> None:
    assert Axis.of(f"{KEY}={text}").values == values


@pytest.mark.parametrize(
    ("word", "what"),
    [
        ("temperature=1", "is no key of a node"),
        ("encoders.a=1", "is no key of a node"),
        ("encoders..x=1", "is no key of a node"),
        (f"{KEY}=", "no value to try"),
        (f"{KEY}=1,,2", "a value is missing"),
        (f"{KEY}=[1,2", "left open"),
        (f"{KEY}=1]", "left open"),
        (f"{KEY}={{a: b: c}}", "is no value"),
        (f"{KEY}=uniform(1)", "takes two numbers"),
        (f"{KEY}=uniform(2,1)", "must lie below"),
        (f"{KEY}=loguniform(0,1)", "starts above 0"),
        (f"{KEY}=int(0.5,2)", "takes whole numbers"),
    ],
)
def test_a_word_that_makes_no_sense_is_named(word: str, what: str) -> None:
    error = mistake(word)
    assert what in error.what and error.where == word


def test_a_range_a_huge_grid_and_no_draw_say_to_draw() -> None:
    many = ",".join(map(str, range(40)))
    assert mistake(f"{KEY}=uniform(0,1)").do == "draw some: --random N"
    assert mistake(f"{KEY}={many}", f"encoders.a.epochs={many}").what == "the grid has 1,600 points"
    assert "1 point or more" in mistake(f"{KEY}=1,2", draws=0).what
    assert "named twice" in mistake(f"{KEY}=1", f"{KEY}=2").what
    assert mistake().what == "nothing to sweep over"


def test_a_grid_is_the_product_with_the_last_key_turning_fastest() -> None:
    found = space.points(space.axes([f"{KEY}=1,2", "encoders.a.epochs=3,4,5"]))
    assert [tuple(p.values()) for p in found] == [(1, 3), (1, 4), (1, 5), (2, 3), (2, 4), (2, 5)]
    assert list(found[0]) == [KEY, "encoders.a.epochs"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 12), st.integers(0, 50))
def test_draws_from_lists_are_distinct_points_of_the_grid_and_begin_alike(sizes: list[int], draws: int, seed: int) -> None:
    axes = space.axes([f"encoders.a.k{i}={','.join(map(str, range(n)))}" for i, n in enumerate(sizes)])
    found = space.points(axes, draws, seed)
    grid = space.points(axes)
    assert len(found) == min(draws, len(grid)) and all(p in grid for p in found)
    assert len({json.dumps(p) for p in found}) == len(found)
    assert space.points(axes, draws, seed) == found
    assert space.points(axes, draws + 3, seed)[: len(found)] == found


@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e4), st.integers(0, 30), st.sampled_from(["uniform", "loguniform"]))
def test_draws_from_ranges_lie_inside_and_can_be_typed_again(low: float, factor: float, seed: int, kind: str) -> None:
    axis = Axis.of(f"{KEY}={kind}({low!r},{low * factor!r})")
    assert isinstance(axis.values, Range)
    for point in space.points([axis], 5, seed):
        value = point[KEY]
        assert axis.values.low <= value <= axis.values.high
        assert float(f"{value:.4g}") == value or value in (axis.values.low, axis.values.high)


def test_whole_numbers_are_drawn_from_both_ends_and_a_small_range_gives_what_it_has() -> None:
    found = [p[KEY] for p in space.points(space.axes([f"{KEY}=int(1,5)"]), 20, 3)]
    assert sorted(found) == [1, 2, 3, 4, 5] and all(type(v) is int for v in found)


def test_loguniform_spreads_over_the_decades() -> None:
    found = [p[KEY] for p in space.points(space.axes([f"{KEY}=loguniform(1e-4,1e-0)"]), 400, 1)]
    assert 0.4 < sum(v < 1e-2 for v in found) / len(found) < 0.6
    assert {math.floor(math.log10(v)) for v in found} == {-4, -3, -2, -1}


def test_ranges_and_lists_are_drawn_together() -> None:
    found = space.points(space.axes([f"{KEY}=uniform(0,1)", "encoders.a.epochs=1,2"]), 8, 0)
    assert len(found) == 8 and {p["encoders.a.epochs"] for p in found} == {1, 2}
