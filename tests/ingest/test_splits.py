from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.common.plan import SplitPlan
from stages.ingest.core.splits import Rows, assign, in_order, limited, place, split_digest


def rows(groups: list[str], declared: list[str] | None = None, strata: list[str | None] | None = None) -> Rows:
    ids = [f"i{n:05d}" for n in range(len(groups))]
    return Rows(ids, groups, declared or [None] * len(groups), strata or [])


def many(count: int) -> list[str]:
    return [f"g{i}" for i in range(count)]


def test_a_groups_place_is_the_head_of_a_sha256() -> None:
    whole = hashlib.sha256(b"7:anna").hexdigest()
    assert place("7", "anna") == int(whole[:16], 16) / 2**64


def test_shares_are_met_closely_and_the_same_on_every_run() -> None:
    counts = Counter(assign(rows(many(5000)), SplitPlan()))
    assert counts == Counter(assign(rows(many(5000)), SplitPlan()))
    assert abs(counts["train"] - 3500) < 120 and abs(counts["valid"] - 500) < 80


@given(st.lists(st.integers(0, 60), min_size=80, max_size=200), st.integers(0, 5))
def test_no_group_lies_in_two_splits(numbers: list[int], salt: int) -> None:
    groups = [f"g{n}" for n in [*range(61), *numbers]]
    strata: list[str | None] = [str(n % 3) for n in range(len(groups))]
    plan = SplitPlan(fractions={"train": 0.5, "test": 0.5}, salt=salt, carve={"valid": {"from": "train", "share": 0.3}})
    for among in (rows(groups), rows(groups, strata=strata)):
        of: dict[str, set[str]] = {}
        for group, split in zip(groups, assign(among, plan), strict=True):
            of.setdefault(group, set()).add(split)
        assert {len(s) for s in of.values()} == {1}


def test_without_strata_adding_items_moves_none_of_the_others() -> None:
    carve = {"tune": {"from": "train", "share": 0.2}}
    before = assign(rows(many(300)), SplitPlan(carve=carve))
    after = assign(rows(many(500)), SplitPlan(carve=carve))
    assert after[:300] == before


def test_strata_are_divided_to_the_nearest_group_and_an_added_group_moves_one_other_per_cut() -> None:
    strata: list[str | None] = ["a", "b", "b", "b"] * 50
    before = assign(rows(many(200), strata=strata), SplitPlan())
    counts = Counter(zip(before, strata, strict=True))
    assert [counts[s, "a"] for s in ("train", "valid", "test")] == [35, 5, 10]
    assert [counts[s, "b"] for s in ("train", "valid", "test")] == [105, 15, 30]
    after = assign(rows(many(201), strata=[*strata, "a"]), SplitPlan())
    assert sum(x != y for x, y in zip(before, after[:200], strict=True)) <= 2


def test_the_salt_changes_who_goes_where() -> None:
    assert assign(rows(many(100)), SplitPlan(salt=0)) != assign(rows(many(100)), SplitPlan(salt=1))


def test_carving_takes_its_share_of_a_declared_split_and_leaves_the_others() -> None:
    declared = ["train"] * 900 + ["test"] * 100
    plan = SplitPlan(by="declared", carve={"valid": {"from": "train", "share": 0.1}})
    found = assign(rows(many(1000), declared, ["x"] * 1000), plan)
    assert Counter(found) == {"train": 810, "valid": 90, "test": 100}
    assert found[900:] == ["test"] * 100


def test_a_limit_takes_its_share_of_each_stratum_and_of_the_lowest_hashes() -> None:
    strata: list[str | None] = ["a"] * 80 + ["b"] * 20
    among = rows(many(100), strata=strata)
    kept = limited(among, ["train"] * 100, np.ones(100, bool), {"train": 10}, 0)
    assert (kept[:80].sum(), kept[80:].sum()) == (8, 2)
    fewer = limited(among, ["train"] * 100, np.ones(100, bool), {"train": 5}, 0)
    assert (kept >= fewer).all()


@pytest.mark.parametrize(
    ("plan", "among", "says"),
    [
        ({"by": "declared"}, rows(["g", "g"], ["train", "test"]), "lies in the splits 'train' and 'test'"),
        ({"by": "declared"}, rows(["g", "h"], ["train", ""]), "has no declared split"),
        ({}, rows(["g", "h"]), "is empty"),
        ({"carve": {"valid": {"from": "train"}}, "by": "declared"}, rows(["g"], ["train"]), "needs `from` and a `share`"),
        ({"carve": {"v": {"from": "tran", "share": 0.1}}, "by": "declared"}, rows(["g"], ["train"]), "did you mean 'train'"),
        ({"carve": {"v": {"form": "train", "share": 0.1}}, "by": "declared"}, rows(["g"], ["train"]), "did you mean 'from'"),
        ({"carve": {"train": {"from": "train", "share": 0.1}}, "by": "declared"}, rows(["g"], ["train"]), "exists already"),
    ],
)
def test_a_split_that_cannot_be_made_is_one_clear_error(plan: dict[str, Any], among: Rows, says: str) -> None:
    with pytest.raises(UserError, match=None) as caught:
        assign(among, SplitPlan(**plan))
    assert says in str(caught.value)


def test_splits_are_listed_train_valid_test_then_by_name() -> None:
    assert in_order({"zeta", "test", "alpha", "train"}) == ["train", "test", "alpha", "zeta"]


def test_the_split_digest_does_not_depend_on_the_order_of_rows() -> None:
    assert split_digest(["a", "b"], ["x", "y"]) == split_digest(["b", "a"], ["y", "x"])
    assert split_digest(["a", "b"], ["x", "y"]) != split_digest(["a", "b"], ["y", "x"])
