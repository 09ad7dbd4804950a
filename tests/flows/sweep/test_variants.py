"""Points become nodes: what follows a swept node is copied, the base is left alone, names are unique and stay."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.sweep import space, variants
from flows.sweep.variants import Spread
from stages.common import plan
from stages.common.errors import UserError
from stages.common.plan import Plan
from stages.common.schema import build
from tests.toy import install_parts, plan_with

STRENGTH = "encoders.a.objective.strength"


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from install_parts(tmp_path / "parts", monkeypatch)


@pytest.fixture
def data() -> dict[str, Any]:
    """Encoder b has a as its parent; the task `pair` reads features of b beside those of c, which nothing joins to a."""
    whole = plan_with()
    encoders, features, tasks = whole["encoders"], whole["features"], whole["tasks"]
    encoders["b"] = copy.deepcopy(encoders["a"]) | {"parent": "encoders/a"}
    encoders["c"] = copy.deepcopy(encoders["a"])
    for name in ("b", "c"):
        features[name] = {"encoder": name, "corpus": "digits"}
    tasks["pair"] = copy.deepcopy(tasks["control"]) | {"features": "c", "support": "features/b"}
    tasks["after"] = copy.deepcopy(tasks["control"]) | {"features": "c", "support": "tasks/toy/probe"}
    tasks["alone"] = copy.deepcopy(tasks["control"]) | {"features": "c", "support": "features/c"}
    return whole


def swept(data: dict[str, Any], *words: str, draws: int | None = None) -> Spread:
    return variants.spread(data, space.points(space.axes(words), draws))


def mistake(data: dict[str, Any], *words: str) -> UserError:
    with pytest.raises(UserError) as caught:
        swept(data, *words)
    return caught.value


def test_everything_that_follows_is_copied_and_nothing_else(data: dict[str, Any]) -> None:
    made = swept(data, f"{STRENGTH}=0.1")
    tail = "__strength_0_1"
    assert made.added == {
        "encoders": [f"a{tail}", f"b{tail}"],
        "features": [f"a{tail}", f"b{tail}"],
        "tasks": [f"probe{tail}", f"control{tail}", f"pair{tail}", f"after{tail}"],
    }
    assert made.data["encoders"][f"a{tail}"]["objective"]["strength"] == 0.1
    assert made.data["encoders"][f"b{tail}"]["parent"] == f"encoders/a{tail}"
    assert made.data["features"][f"a{tail}"]["encoder"] == f"a{tail}"
    pair, after = made.data["tasks"][f"pair{tail}"], made.data["tasks"][f"after{tail}"]
    assert (pair["features"], pair["support"], after["support"]) == ("c", f"features/b{tail}", f"tasks/toy/probe{tail}")
    for section, names in made.added.items():
        for name in names:
            node = made.data[section][name]
            assert (node["variant_of"], node["varied"]) == (name.removesuffix(tail), [STRENGTH])


def test_the_base_and_the_systems_are_as_they_were(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    made = swept(data, f"{STRENGTH}=0.1,0.2", "features.c.copies=2")
    assert data == before and made.data["systems"] == before["systems"]
    for section in ("corpora", "encoders", "features", "tasks"):
        assert {name: made.data[section][name] for name in before[section]} == before[section]


def test_a_point_equal_to_the_base_is_the_base_itself(data: dict[str, Any]) -> None:
    made = swept(data, f"{STRENGTH}=0.5,0.25", "encoders.a.epochs=10")  # 0.5 and 10 are defaults, written nowhere
    assert [v.name for v in made.variants] == ["a", "a__strength_0_25"]
    assert made.variants[0].nodes["tasks", "probe"] == "probe" and made.added["encoders"] == [
        "a__strength_0_25",
        "b__strength_0_25",
    ]


def test_two_ways_to_write_a_value_are_one_variant(data: dict[str, Any]) -> None:
    made = swept(data, f"{STRENGTH}=1,1.0,1e0")
    assert [v.name for v in made.variants] == ["a__strength_1"]
    assert json.dumps(made.variants[0].values) == json.dumps({STRENGTH: 1.0})


def test_a_further_value_leaves_the_variants_that_are_there(data: dict[str, Any]) -> None:
    first, more = swept(data, f"{STRENGTH}=0.1,0.2"), swept(data, f"{STRENGTH}=0.3,0.2,0.1", "encoders.a.epochs=10,3")
    for section, names in first.added.items():
        for name in names:
            assert more.data[section][name] == first.data[section][name]


def test_keys_of_several_nodes_meet_where_their_lineages_do(data: dict[str, Any]) -> None:
    made = swept(data, f"{STRENGTH}=0.1,0.2", "encoders.c.objective.strength=0.3,0.4")
    assert len(made.variants) == 4 and made.variants[0].name == "a__strength_0_1 + c__strength_0_3"
    assert set(made.added["encoders"]) == {f"{n}__strength_0_{v}" for n, v in zip("aabbcc", (1, 2, 1, 2, 3, 4))}
    assert len([name for name in made.added["tasks"] if name.startswith("pair")]) == 4
    assert len([name for name in made.added["tasks"] if name.startswith("alone")]) == 2
    pair = made.data["tasks"]["pair__a_objective_strength_0_1__c_objective_strength_0_3"]
    assert (pair["features"], pair["support"]) == ("c__strength_0_3", "features/b__strength_0_1")


def test_features_tasks_and_corpora_can_be_swept_too(data: dict[str, Any]) -> None:
    assert set(swept(data, "tasks.control.head.size=7").added) == {"tasks"}
    assert swept(data, "features.c.copies=2").added["features"] == ["c__copies_2"]
    made = swept(data, "corpora.digits.split.salt=1")
    assert len(made.added["encoders"]) == 3 and made.data["encoders"]["c__salt_1"]["parent"] == "corpora/digits__salt_1"
    assert made.data["tasks"]["alone__salt_1"]["corpus"] == "digits__salt_1"


def test_a_whole_part_can_be_swept_by_its_name_or_with_its_arguments(data: dict[str, Any]) -> None:
    made = swept(data, "encoders.c.objective=plain,none,{name: plain, size: 3}")
    assert [v.name for v in made.variants] == ["c", "c__objective_none", "c__objective_plain_size_3"]
    assert made.data["encoders"]["c__objective_none"]["objective"] == {"name": "none"}


@pytest.mark.parametrize(
    ("word", "what", "do"),
    [
        ("encoders.a.objective.strenght=1", "unknown argument of objective 'plain' 'strenght'", "did you mean 'strength'?"),
        ("encoders.a.objectiv.strength=1", "unknown key 'objectiv'", "did you mean 'objective'?"),
        ("encoders.aa.epochs=1", "unknown node 'aa'", "did you mean 'a'?"),
        ("encoder.a.epochs=1", "unknown section 'encoder'", "did you mean 'encoders'?"),
        ("systems.toy.title=x", "unknown section 'systems'", None),
        ("encoders.a.epochs=many", "expected a whole number, got str 'many'", None),
        (f"{STRENGTH}=[1]", "expected a number, got list [1]", None),
        ("encoders.a.epochs.x=1", "expected a whole number, got dict {'x': 1}", None),
        ("encoders.a.corpus.x=1", "'corpus' holds one value, no keys", None),
        ("encoders.a.batch_size=0", "batch_size must be 1 or more, got 0", None),
        ("encoders.a.objective=plane", "unknown objective 'plane'", "did you mean 'plain'?"),
        ("encoders.a.parent=encoders/b", "parents form a circle: a -> b -> a", None),
        ("encoders.a.varied=[x]", "'varied' is what a sweep writes itself", None),
    ],
)
def test_a_wrong_key_or_value_is_the_plans_own_error(data: dict[str, Any], word: str, what: str, do: str | None) -> None:
    error = mistake(data, word)
    assert error.what == what and (do is None or error.do == do)


def test_values_that_together_make_a_circle_are_refused(data: dict[str, Any]) -> None:
    error = mistake(data, "encoders.a.parent=corpora/digits,encoders/c", "encoders.c.parent=corpora/digits,encoders/a")
    assert "depend on themselves" in error.what


def test_a_plan_that_grows_too_large_says_how_large_and_what_to_do(data: dict[str, Any]) -> None:
    error = mistake(data, f"{STRENGTH}={','.join(str(i / 100) for i in range(1, 30))}")
    assert error.what.startswith("29 variants make a plan of 246 stages") and "--random N" in (error.do or "")
    assert len(swept(data, f"{STRENGTH}=uniform(0,1)", draws=3).variants) == 3


def test_long_names_are_cut_and_stay_unique(data: dict[str, Any]) -> None:
    words = ["x" * 70, "x" * 70 + "y", "a-b", "a_b", "a b"]
    names = swept(data, f"encoders.c.media={','.join(words)}").added["encoders"]
    assert len(set(names)) == 5 and all(len(n) < 64 and re.fullmatch(r"[A-Za-z0-9_]+", n) for n in names)
    assert names == swept(data, f"encoders.c.media={','.join(words)}").added["encoders"]


def test_a_name_that_a_node_has_is_not_taken_from_it(data: dict[str, Any]) -> None:
    data["encoders"]["c__epochs_3"] = copy.deepcopy(data["encoders"]["c"])
    (made,) = swept(data, "encoders.c.epochs=3").added["encoders"]
    assert re.fullmatch(r"c__epochs_3_[0-9a-f]{8}", made)


@given(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.lists(st.floats(0, 1), max_size=3)
)
def test_any_value_is_said_in_letters_digits_and_underscores(value: Any) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_]+", variants.slug(value))


def test_values_read_as_they_are_typed() -> None:
    found = [variants.slug(v) for v in (0.05, 1e-5, -1, 2.0, True, None, [1, 2.5], {"name": "vicreg"}, "", "mlp")]
    assert found == ["0_05", "1em05", "m1", "2", "true", "none", "1_2_5", "vicreg", "none", "mlp"]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"variant_of": "nobody", "varied": [STRENGTH]}, "unknown node 'nobody'"),
        ({"variant_of": "b"}, "`variant_of` and `varied` go together"),
        ({"varied": [STRENGTH]}, "`variant_of` and `varied` go together"),
        ({"variant_of": "b", "varied": ["strength"]}, "'strength' is no key of a node"),
        ({"variant_of": "d", "varied": [STRENGTH]}, "'d' is a variant itself"),
        ({"variant_of": "c", "varied": [STRENGTH]}, "'c' is a variant itself"),
    ],
)
def test_a_variant_names_a_base_of_its_section(data: dict[str, Any], changes: dict[str, Any], what: str) -> None:
    data["encoders"]["d"] = copy.deepcopy(data["encoders"]["a"]) | {"variant_of": "a", "varied": [STRENGTH]}
    data["encoders"]["c"] |= changes
    with pytest.raises(UserError, match=re.escape(what)):
        plan.validate(build(Plan, data, "params.yaml"))
