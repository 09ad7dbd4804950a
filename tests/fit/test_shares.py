"""Label shares: who is labelled depends on seed and id alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.common.errors import UserError
from stages.fit.core import shares

IDS = [f"i{i}" for i in range(200)]
KEY = shares.keys(IDS)
CLASSES = np.array([0] * 120 + [1] * 60 + [2] * 17 + [3] * 3)


def chosen(share: str, seed: int = 0) -> set[str]:
    return {IDS[i] for i in np.flatnonzero(shares.take(share, KEY, seed, CLASSES))}


def test_a_count_labels_so_many_of_each_class_or_all_it_has() -> None:
    assert np.bincount(CLASSES[shares.take("5", KEY, 0, CLASSES)]).tolist() == [5, 5, 5, 3]


def test_a_share_is_stratified_and_labels_one_of_each_class_at_least() -> None:
    assert np.bincount(CLASSES[shares.take("10%", KEY, 0, CLASSES)]).tolist() == [12, 6, 2, 1]
    assert shares.take("100%", KEY, 0, CLASSES).all()
    assert shares.take("all", KEY, 0, CLASSES).all()


@pytest.mark.parametrize("seed", range(3))
def test_smaller_shares_lie_within_larger_ones_of_the_same_seed(seed: int) -> None:
    assert chosen("1", seed) < chosen("5", seed) < chosen("10", seed) < chosen("100", seed) <= set(IDS)
    assert chosen("1%", seed) < chosen("10%", seed) < chosen("50%", seed)


def test_seeds_draw_different_labels() -> None:
    assert len({frozenset(chosen("5", seed)) for seed in range(5)}) == 5


@given(st.permutations(range(200)), st.integers(0, 10))
@settings(max_examples=20)
def test_the_draw_does_not_depend_on_the_order_of_rows(order: list[int], seed: int) -> None:
    shuffled = shares.take("7", KEY[order], seed, CLASSES[order])
    assert {IDS[order[i]] for i in np.flatnonzero(shuffled)} == chosen("7", seed)


def test_items_of_one_class_do_not_change_the_draw_in_another() -> None:
    kept = CLASSES != 1
    alone = {IDS[i] for i in np.flatnonzero(kept)[shares.take("5", KEY[kept], 0, CLASSES[kept])]}
    assert alone == {i for i in chosen("5") if CLASSES[IDS.index(i)] != 1}


def test_every_item_is_drawn_about_as_often() -> None:
    times = sum(shares.take("10%", KEY, seed, None).astype(int) for seed in range(400))
    assert times.mean() == 40
    assert times.std() < 1.5 * (400 * 0.1 * 0.9) ** 0.5  # that of independent draws


def test_draws_are_those_of_splitmix64() -> None:
    """Known answers: the generator from state 1234567 gives these numbers."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [int(shares.draws(np.array([1234567], np.uint64), step)[0]) for step in range(5)] == known


def test_a_share_of_numbers_is_drawn_from_all_and_a_count_is_refused() -> None:
    assert shares.take("10%", KEY, 0, None).sum() == 20
    with pytest.raises(UserError, match="counts labels per class"):
        shares.take("5", KEY, 0, None)


def test_a_fifth_of_the_groups_is_held_out_whole() -> None:
    groups = np.array([f"g{i // 10}" for i in range(200)], object)
    out = shares.held_out(KEY, groups)
    assert out.sum() == 40
    assert not set(groups[out]) & set(groups[~out])
    order = np.random.default_rng(0).permutation(200)
    assert (shares.held_out(KEY[order], groups[order]) == out[order]).all()


def test_of_a_single_group_a_fifth_of_the_items_is_held_out() -> None:
    assert shares.held_out(KEY, np.array(["g"] * 200, object)).sum() == 40
