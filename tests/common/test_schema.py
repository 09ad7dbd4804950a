"""Mappings become typed dataclasses; every mistake is named with its place."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.common.plan import CorpusPlan, Plan
from stages.common.schema import Part, as_plain, build, convert


@dataclass(frozen=True)
class Inner:
    width: int
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    title: str
    mode: Literal["fast", "slow"] = "fast"
    inner: Inner = field(default_factory=lambda: Inner(1))
    many: list[Inner] = field(default_factory=list)
    named: dict[str, Inner] = field(default_factory=dict)
    pair: tuple[float, float] = (0.0, 1.0)
    rest: tuple[int, ...] = ()
    maybe: int | None = None
    either: int | str = 0
    part: Part = field(default_factory=lambda: Part("none"))
    on: bool = False


def mistake(value: Any, cls: type = Outer) -> UserError:
    with pytest.raises(UserError) as caught:
        build(cls, value, "node")
    return caught.value


def test_a_mapping_becomes_the_dataclass_with_its_defaults() -> None:
    built = build(Outer, {"title": "t", "inner": {"width": 3}, "many": [{"width": 1, "rate": 2}], "pair": [1, 2]}, "node")
    assert built == Outer("t", inner=Inner(3, 0.5), many=[Inner(1, 2.0)], pair=(1.0, 2.0))


@pytest.mark.parametrize(
    ("value", "where", "nearest"),
    [
        ({"titel": "t"}, "node", "title"),
        ({"title": "t", "inner": {"widht": 1}}, "node.inner", "width"),
        ({"title": "t", "many": [{"width": 1}, {"width": 1, "rat": 1}]}, "node.many[1]", "rate"),
        ({"title": "t", "named": {"a": {"wide": 1}}}, "node.named.a", "width"),
    ],
)
def test_an_unknown_key_names_the_nearest_and_where_it_stands(value: Any, where: str, nearest: str) -> None:
    error = mistake(value)
    assert (error.where, error.do) == (where, f"did you mean {nearest!r}?")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("title", 1, "expected text, got int 1"),
        ("title", None, "expected text, got nothing"),
        ("on", 1, "expected true or false, got int 1"),
        ("on", "yes", "expected true or false, got str 'yes'"),
        ("maybe", True, "expected a whole number, got bool True"),
        ("maybe", 1.0, "expected a whole number, got float 1.0"),
        ("either", True, "expected a whole number or text, got bool True"),
        ("pair", [1, "2"], "expected a number, got str '2'"),
        ("pair", [True, 1.0], "expected a number, got bool True"),
        ("pair", [1], "expected 2 values, got 1"),
        ("rest", [1, 2.5], "expected a whole number, got float 2.5"),
        ("many", {"width": 1}, "expected a list, got dict {'width': 1}"),
        ("named", [1], "expected keys and values, got list [1]"),
        ("inner", 3, "expected keys and values, got int 3"),
    ],
)
def test_a_wrong_type_is_named_with_what_was_expected(key: str, value: Any, expected: str) -> None:
    error = mistake({"title": "t", key: value})
    assert error.what == expected
    assert error.where is not None and error.where.startswith(f"node.{key}")


def test_a_missing_key_is_named_with_where_to_add_it() -> None:
    error = mistake({"title": "t", "inner": {}})
    assert (error.what, error.do) == ("missing key 'width'", "add `width:` to node.inner")


def test_a_value_outside_a_literal_names_the_nearest() -> None:
    error = mistake({"title": "t", "mode": "fsat"})
    assert (error.what, error.do) == ("unknown value 'fsat'", "did you mean 'fast'?")


def test_none_is_taken_only_where_it_is_allowed() -> None:
    assert build(Outer, {"title": "t", "maybe": None}, "node").maybe is None
    assert mistake({"title": "t", "on": None}).what == "expected true or false, got nothing"


def test_a_union_takes_the_exact_type_before_a_conversion() -> None:
    assert convert(float | int, 3, "n") == 3 and isinstance(convert(float | int, 3, "n"), int)
    assert isinstance(convert(int | float, 3.0, "n"), float)


def test_a_part_is_its_name_and_the_rest_its_arguments() -> None:
    assert build(Outer, {"title": "t", "part": {"name": "simclr", "temperature": 0.5}}, "node").part == Part(
        "simclr", {"temperature": 0.5}
    )


@pytest.mark.parametrize("value", ["simclr", {"temperature": 0.5}, {"name": 3}, None])
def test_a_part_without_a_name_says_how_to_write_one(value: Any) -> None:
    error = mistake({"title": "t", "part": value})
    assert (error.what, error.where) == ("a part is a mapping with a `name`", "node.part")


def test_keys_of_a_dictionary_become_text() -> None:
    assert convert(dict[str, int], {5: 1}, "n") == {"5": 1}
    assert convert(Mapping[str, int], {5: 1}, "n") == {"5": 1}
    assert convert(dict, {5: {"a": 1}}, "n") == {"5": {"a": 1}}


def test_a_type_without_a_rule_is_our_mistake() -> None:
    with pytest.raises(TypeError, match="no rule for the type"):
        convert(bytes, b"", "n")


_names = st.text("abcdef_0123456789", min_size=1, max_size=6)
_floats = st.floats(allow_nan=False, allow_infinity=False)
_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | _floats | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3),
    max_leaves=6,
)
_parts = st.builds(Part, _names, st.dictionaries(_names.filter(lambda k: k != "name"), _plain, max_size=3))
_inner = st.builds(Inner, st.integers(), _floats)
_outer = st.builds(
    Outer,
    title=st.text(max_size=5),
    mode=st.sampled_from(["fast", "slow"]),
    inner=_inner,
    many=st.lists(_inner, max_size=3),
    named=st.dictionaries(_names, _inner, max_size=3),
    pair=st.tuples(_floats, _floats),
    rest=st.lists(st.integers(), max_size=3).map(tuple),
    maybe=st.none() | st.integers(),
    either=st.integers() | st.text(max_size=3),
    part=_parts,
    on=st.booleans(),
)


@given(_outer)
def test_build_is_the_inverse_of_as_plain(value: Outer) -> None:
    assert build(Outer, as_plain(value), "node") == value


@given(st.builds(CorpusPlan, title=st.text(max_size=5), source=_parts, reader=_parts), _names)
def test_a_plan_survives_being_written_and_read(corpus: CorpusPlan, name: str) -> None:
    whole = Plan(corpora={name: corpus})
    assert build(Plan, as_plain(whole), "plan") == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_a_mistake(value: float) -> None:
    assert mistake({"title": "t", "inner": {"width": 1, "rate": value}}).where == "node.inner.rate"
    assert mistake({"title": "t", "part": {"name": "a", "rate": [value]}}).where == "node.part.rate[0]"


def test_a_value_that_json_cannot_say_is_a_mistake() -> None:
    error = mistake({"title": "t", "part": {"name": "a", "since": datetime.date(2020, 1, 1)}})
    assert (error.where, error.do) == ("node.part.since", "put it in quotes if it is text")
    assert convert(dict[str, Any], {"a": [1, "b", None, True, 0.5]}, "n") == {"a": [1, "b", None, True, 0.5]}


def test_a_literal_takes_the_very_type_of_its_values() -> None:
    assert convert(Literal[1, 2], 2, "n") == 2
    for value in (True, 1.0, "1", [1]):
        with pytest.raises(UserError, match="unknown value"):
            convert(Literal[1, 2], value, "n")


@pytest.mark.parametrize(("hint", "expected"), [(list, [1, "a"]), (tuple, (1, "a")), (list[Any], [1, "a"])])
def test_a_list_without_a_kind_takes_anything(hint: Any, expected: Any) -> None:
    assert convert(hint, [1, "a"], "n") == expected
    with pytest.raises(UserError, match="expected a list, got int 3"):
        convert(hint, 3, "n")
