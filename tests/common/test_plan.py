"""The plan: what may be written, and how mistakes in it are named before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows import compose
from stages.common import plan
from stages.common.errors import UserError
from stages.common.plan import EncoderPlan, Plan
from stages.common.schema import as_plain, build
from tests.toy import install_parts, plan_with


@pytest.fixture(autouse=True)
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from install_parts(tmp_path / "parts", monkeypatch)


def typed(data: dict[str, Any]) -> Plan:
    whole = build(Plan, data, "params.yaml")
    plan.validate(whole)
    return whole


def mistake(**changes: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        typed(plan_with(**changes))
    return caught.value


def test_a_sound_plan_passes() -> None:
    whole = typed(plan_with())
    assert whole.node("pretrain", "a").corpus == "digits"
    assert list(whole.tasks_of("toy")) == ["probe", "control"]


def test_a_node_that_is_not_in_the_plan_names_the_nearest() -> None:
    with pytest.raises(UserError) as caught:
        typed(plan_with()).node("fit", "prob")
    assert (caught.value.what, caught.value.do) == ("unknown tasks node 'prob'", "did you mean 'probe'?")


@pytest.mark.parametrize("slug", ["a-b", "a.b", "a b", "", "a@b", "ä/b"])
def test_a_name_that_is_no_slug_is_refused(slug: str) -> None:
    data = plan_with()
    data["encoders"][slug] = data["encoders"]["a"]
    with pytest.raises(UserError, match="is not a slug"):
        typed(data)


@pytest.mark.parametrize(
    ("changes", "where", "nearest"),
    [
        ({"encoders__a__corpus": "digit"}, "encoders.a", "digits"),
        ({"features__a__encoder": "aa"}, "features.a", "a"),
        ({"features__a__corpus": "digit"}, "features.a", "digits"),
        ({"tasks__probe__system": "toi"}, "tasks.probe", "toy"),
        ({"tasks__probe__features": "aa"}, "tasks.probe", "a"),
        ({"tasks__probe__corpus": "digit"}, "tasks.probe", "digits"),
        ({"tasks__probe__label": "digits"}, "tasks.probe", "digit"),
        ({"features__a__layers": [3, -1], "tasks__probe__layer": 33}, "tasks.probe.layer", "3"),
        ({"tasks__probe__support": "features/aa"}, "tasks.probe.support", "a"),
        ({"tasks__probe__metrics": ["plan"]}, "tasks.probe.metrics", "plain"),
        ({"tasks__probe__head": {"name": "plan"}}, "tasks.probe.head", "plain"),
        ({"corpora__digits__reader": {"name": "plan"}}, "corpora.digits.reader", "plain"),
        ({"encoders__a__objective": {"name": "plain", "strenght": 1}}, "encoders.a.objective", "strength"),
        ({"systems__toy__claims__better__order": ["probe", "contrl"]}, "systems.toy.claims.better", "control"),
    ],
)
def test_a_reference_that_leads_nowhere_names_the_nearest(changes: dict[str, Any], where: str, nearest: str) -> None:
    error = mistake(**changes)
    assert (error.where, error.do) == (where, f"did you mean {nearest!r}?")


def test_a_parts_argument_of_the_wrong_type_is_named() -> None:
    error = mistake(encoders__a__objective={"name": "plain", "size": 0.5})
    assert (error.where, error.what) == ("encoders.a.objective.size", "expected a whole number, got float 0.5")


def test_a_task_and_its_features_are_of_one_corpus() -> None:
    other = plan_with()["corpora"]["digits"]
    error = mistake(corpora__other=other, tasks__probe__corpus="other")
    assert error.what == "its features are of corpus 'digits', its labels of 'other'"


def encoder(parent: str) -> dict[str, Any]:
    return {**plan_with()["encoders"]["a"], "parent": parent}


def test_parents_in_a_circle_are_shown_as_one() -> None:
    error = mistake(encoders__a__parent="encoders/b", encoders__b=encoder("encoders/c"), encoders__c=encoder("encoders/a"))
    assert error.what == "parents form a circle: a -> b -> c -> a"


def test_an_encoder_is_not_its_own_parent() -> None:
    assert mistake(encoders__a__parent="encoders/a").what == "parents form a circle: a -> a"


def test_a_chain_of_parents_is_no_circle() -> None:
    typed(plan_with(encoders__b=encoder("encoders/a"), encoders__c=encoder("encoders/b")))


@pytest.mark.parametrize("parent", ["a", "", "encoder/a", "encoders/zz", "params/a", "corpora/zz"])
def test_a_parent_must_be_a_node(parent: str) -> None:
    assert mistake(encoders__a__parent=parent).where == "encoders.a.parent"


@pytest.mark.parametrize("share", ["all", "1", "500", "10%", "0.1%", "12.5%", "100%"])
def test_label_shares_are_all_or_a_percentage_or_a_number_per_class(share: str) -> None:
    typed(plan_with(tasks__probe__labels=[share]))


@pytest.mark.parametrize("share", ["", "0", "-1", "05", "1.5", "101%", "200%", "%", "5 %", "ten", "all%", "-5%", "٣"])
def test_anything_else_is_no_label_share(share: str) -> None:
    assert mistake(tasks__probe__labels=["all", share]).what == f"{share!r} is no label share"


def test_fractions_of_a_split_add_up_to_one() -> None:
    error = mistake(corpora__digits__split={"fractions": {"train": 0.7, "test": 0.2}})
    assert (error.what, error.where) == ("the fractions add up to 0.9, not 1", "corpora.digits.split.fractions")


def test_fractions_do_not_matter_where_the_source_declares_the_splits() -> None:
    typed(plan_with(corpora__digits__split={"by": "declared", "fractions": {}}))


@pytest.mark.parametrize(
    ("claim", "what"),
    [
        ({"metric": "accuracy"}, "a claim has one of an `order` of tasks, a `correlation` and a `choice`"),
        ({"order": ["probe", "control"]}, "an order or a choice needs a `metric`"),
        ({"metric": "accuracy", "order": ["probe"]}, "an order needs two tasks at least"),
        (
            {"order": ["probe", "control"], "correlation": {"x": ["probe"], "x_metric": "a", "y": ["probe"], "y_metric": "b"}},
            "a claim has one of an `order` of tasks, a `correlation` and a `choice`",
        ),
        (
            {"correlation": {"x": ["probe", "control"], "x_metric": "a", "y": ["probe"], "y_metric": "b"}},
            "`x`, `y` must list as many tasks",
        ),
        (
            {"correlation": {"x": ["probe", "none"], "x_metric": "a", "y": ["probe", "probe"], "y_metric": "b"}},
            "unknown task of this system 'none'",
        ),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(claim: dict[str, Any], what: str) -> None:
    error = mistake(systems__toy__claims__better={"says": "s", **claim})
    assert (error.what, error.where) == (what, "systems.toy.claims.better")


def test_a_claim_speaks_of_tasks_of_its_own_system() -> None:
    error = mistake(
        systems__other={"title": "Other", "claims": {"c": {"says": "s", "metric": "m", "order": ["probe", "control"]}}}
    )
    assert error.what == "unknown task of this system 'probe'"


def test_a_plan_reads_the_same_from_yaml_and_from_json(tmp_path: Path) -> None:
    import yaml

    (tmp_path / "p.json").write_text(json.dumps(plan_with()))
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(plan_with()))
    assert plan.load(tmp_path / "p.json") == plan.load(tmp_path / "p.yaml") == build(Plan, plan_with(), "p")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("p.yaml", "a: [1", "the plan is not valid YAML"),
        ("p.json", "{", "the plan is not valid JSON"),
        ("p.yaml", "", "the plan is empty"),
        ("p.json", "[]", "the plan is empty"),
        ("p.yaml", "!!python/object/apply:os.getcwd []", "the plan is not valid YAML"),
    ],
)
def test_a_damaged_plan_file_is_named(tmp_path: Path, name: str, text: str, what: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        plan.load(tmp_path / name)
    assert caught.value.what.startswith(what) and caught.value.where == str(tmp_path / name)


def test_a_composed_plan_that_was_cut_is_never_taken_for_a_smaller_one(tmp_path: Path) -> None:
    data = {"tracking": {"experiment": "prelude"}, "corpora": {}, "compute": {"jobs": 12}}
    whole = compose.text(data)
    assert plan.read(put(tmp_path / "p.yaml", whole)) == data
    for length in range(len(whole) - 1):  # without the last line's end it is whole
        with pytest.raises(UserError):
            plan.read(put(tmp_path / "p.yaml", whole[:length]))
    by_hand = whole.removeprefix(plan.COMPOSED).removesuffix(plan.END)
    assert plan.read(put(tmp_path / "p.yaml", by_hand)) == data


def put(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_missing_plan_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        plan.load(tmp_path / "params.yaml")
    assert caught.value.do == "write it with `prelude plan`"


def test_an_unknown_key_in_a_plan_file_names_its_place(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps(plan_with(encoders__a__optim={"learning_rate": 1})))
    with pytest.raises(UserError) as caught:
        plan.load(tmp_path / "params.yaml")
    assert caught.value.where == "params.yaml.encoders.a.optim"


def test_the_defaults_of_every_node_survive_writing_and_reading() -> None:
    whole = build(Plan, plan_with(), "p")
    assert build(Plan, json.loads(json.dumps(as_plain(whole))), "p") == whole
    assert isinstance(whole.encoders["a"], EncoderPlan)


@pytest.mark.parametrize(
    ("support", "where_it_fails"),
    [
        ("tasks/other/control", "'tasks/other/control' names no node"),
        ("tasks/control", "'tasks/control' names no node"),
        ("encoders/x/a", "'encoders/x/a' names no node"),
        ("corpora/digits", "'corpora/digits' names no node"),
        ("systems/toy", "'systems/toy' names no node"),
        ("features", "'features' names no node"),
    ],
)
def test_a_support_that_is_no_folder_of_a_node_is_refused(support: str, where_it_fails: str) -> None:
    error = mistake(tasks__probe__support=support)
    assert (error.what, error.where) == (where_it_fails, "tasks.probe.support")


@pytest.mark.parametrize("support", ["tasks/toy/control", "encoders/a", "features/a"])
def test_a_support_is_features_an_encoder_or_a_task(support: str) -> None:
    typed(plan_with(tasks__probe__support=support))


@pytest.mark.parametrize("parent", ["features/a", "tasks/toy/probe", "encoders/b/a"])
def test_a_parent_that_is_no_folder_of_an_encoder_is_refused(parent: str) -> None:
    error = mistake(encoders__b=encoder(parent))
    assert (error.what, error.where) == (f"{parent!r} names no node", "encoders.b.parent")


def test_a_parent_that_is_a_corpus_is_the_encoders_own() -> None:
    error = mistake(corpora__other=plan_with()["corpora"]["digits"], encoders__b=encoder("corpora/other"))
    assert (error.what, error.where) == ("unknown node 'other'", "encoders.b.parent")


def test_supports_in_a_circle_are_shown_as_one() -> None:
    error = mistake(tasks__probe__support="tasks/toy/control", tasks__control__support="tasks/toy/probe")
    assert (error.what, error.where) == ("supports form a circle: probe -> control -> probe", "tasks.probe.support")


def test_a_task_does_not_support_itself() -> None:
    assert mistake(tasks__probe__support="tasks/toy/probe").what == "supports form a circle: probe -> probe"


@pytest.mark.parametrize("share", ["0%", "0.0%", "00%", "0.00%"])
def test_no_labels_at_all_is_no_label_share(share: str) -> None:
    assert mistake(tasks__probe__labels=[share]).what == f"{share!r} is no label share"


def test_a_fraction_below_nothing_is_refused_though_the_sum_is_one() -> None:
    error = mistake(corpora__digits__split={"fractions": {"train": 1.5, "test": -0.5}})
    assert error.what == "a fraction must lie between 0 and 1, got 1.5"


@pytest.mark.parametrize(
    ("carve", "what"),
    [
        ({"from": "train"}, "missing key 'share'"),
        ({"share": 0.1}, "missing key 'from'"),
        ({"from": "train", "shares": 0.1}, "unknown key 'shares'"),
        ({"from": "train", "share": 1.0}, "the share must lie between 0 and 1, got 1.0"),
        ({"from": "train", "share": "a tenth"}, "expected a number, got str 'a tenth'"),
        ({"from": 1, "share": 0.1}, "expected text, got int 1"),
    ],
)
def test_a_carve_that_makes_no_sense_is_refused(carve: dict[str, Any], what: str) -> None:
    error = mistake(corpora__digits__split={"by": "declared", "carve": {"valid": carve}})
    assert error.what == what and error.where is not None and error.where.startswith("corpora.digits.split.carve.valid")


def test_a_carve_of_a_declared_split_passes() -> None:
    typed(plan_with(corpora__digits__split={"by": "declared", "carve": {"valid": {"from": "train", "share": 0.1}}}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("corpora__digits__shard_mb", 0),
        ("corpora__digits__limit__train", 0),
        ("encoders__a__batch_size", 0),
        ("encoders__a__threads", 0),
        ("encoders__a__accumulate", 0),
        ("encoders__a__snapshot_every", 0),
        ("encoders__a__monitor__every", 0),
        ("encoders__a__monitor__k", 0),
        ("encoders__a__epochs", -1),
        ("features__a__batch_size", 0),
        ("features__a__copies", 0),
        ("features__a__shard_rows", -5),
        ("features__a__threads", 0),
        ("features__a__limit__train", 0),
        ("tasks__probe__threads", 0),
    ],
)
def test_a_count_that_is_too_small_is_named(path: str, value: int) -> None:
    error = mistake(**{path: value})
    assert error.what.endswith(f"or more, got {value}") and path.rpartition("__")[2] in error.what


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
@pytest.mark.parametrize("node", ["encoders.a", "tasks.probe"])
def test_seeds_of_every_node_are_named_each_once(node: str, seeds: list[int]) -> None:
    section, name = node.split(".")
    assert mistake(**{f"{section}__{name}__seeds": seeds}).where == f"{node}.seeds"


def test_the_share_of_quarantined_items_is_a_share() -> None:
    assert mistake(corpora__digits__quarantine_share=2).where == "corpora.digits"


def test_a_stream_has_a_window_and_no_pairs() -> None:
    typed(plan_with(encoders__a__stream={}))
    typed(plan_with(encoders__a__pairs="digit"))
    assert mistake(encoders__a__stream={"window": 0}).what == "window must be 1 or more, got 0"
    error = mistake(encoders__a__stream={}, encoders__a__pairs="digit")
    assert error.where == "encoders.a.pairs" and "leave out `stream:`" in str(error.do)


def test_an_encoder_may_be_left_untrained() -> None:
    typed(plan_with(encoders__a__epochs=0))


def test_a_label_that_the_monitor_cannot_find_names_the_nearest() -> None:
    error = mistake(encoders__a__monitor={"label": "digits"})
    assert (error.where, error.do) == ("encoders.a.monitor", "did you mean 'digit'?")


def test_a_correlation_of_fewer_than_two_points_is_refused() -> None:
    claim = {"says": "s", "correlation": {"x": ["probe"], "x_metric": "a", "y": ["control"], "y_metric": "b"}}
    assert mistake(systems__toy__claims__better=claim).what == "a correlation or a choice needs two tasks at least"


@pytest.mark.parametrize(
    ("content", "what"), [(b"title: caf\xe9", "the plan is not UTF-8"), (b"since: 2020-13-45", "the plan is not valid YAML")]
)
def test_a_file_that_does_not_decode_is_the_users_mistake(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(UserError, match=what):
        plan.load(tmp_path / "params.yaml")
