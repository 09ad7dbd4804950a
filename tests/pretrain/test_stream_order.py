"""The order in which a stream's items are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.pretrain.core.items import Schedule
from stages.pretrain.core.row_groups import RowGroups
from stages.pretrain.core.shuffle import Shuffle
from stages.views.core import random


def groups(counts: list[int]) -> RowGroups:
    count = np.array(counts, np.int64)
    number = np.arange(len(count))
    return RowGroups(number * 0, number, np.cumsum(count) - count, np.cumsum(count) - count, count, count)


def drawn(shuffle: Shuffle, schedule: Schedule) -> list[tuple[int, int]]:
    """(epoch, item) one after another."""
    turns = shuffle.turns(schedule)
    return [(turn.epoch, item) for turn in turns for item in shuffle.order(schedule.seed, turn).tolist()]


def schedule(first: int, last: int, per_epoch: int, batch_size: int = 4, seed: int = 3) -> Schedule:
    return Schedule(seed, batch_size, per_epoch, first, last, lambda index: index)


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=30), st.integers(1, 40))
def test_an_epoch_draws_every_item_once_but_those_that_fill_no_step(counts: list[int], window: int) -> None:
    shuffle, total = Shuffle(groups(counts), window), sum(counts)
    per_epoch = total // 4
    found = drawn(shuffle, schedule(0, 2 * per_epoch, per_epoch))
    for epoch in range(2):
        items = [item for at, item in found if at == epoch]
        assert len(items) == 4 * per_epoch and len(set(items)) == len(items) and set(items) <= set(range(total))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=4, max_size=20), st.integers(1, 7), st.data())
def test_what_is_drawn_from_any_batch_on_is_the_rest_of_the_whole(counts: list[int], window: int, data: st.DataObject) -> None:
    shuffle, per_epoch = Shuffle(groups(counts), window), sum(counts) // 4
    last = data.draw(st.integers(1, 3 * per_epoch))
    first = data.draw(st.integers(0, last - 1))
    whole = drawn(shuffle, schedule(0, last, per_epoch))
    assert len(whole) == 4 * last and drawn(shuffle, schedule(first, last, per_epoch)) == whole[4 * first :]


def test_a_window_draws_from_as_many_groups_and_an_epoch_reads_each_group_once() -> None:
    shuffle = Shuffle(groups([7] * 40), 6)
    windows = shuffle.windows(0, 0)
    assert sorted(np.concatenate(windows).tolist()) == list(range(40)) and max(map(len, windows)) <= 6
    for turn in shuffle.turns(schedule(0, 70, 70, seed=0)):
        assert set(shuffle.order(0, turn).numpy() // 7) == set(turn.groups.tolist())


def test_seeds_and_epochs_have_windows_and_orders_of_their_own() -> None:
    shuffle = Shuffle(groups([5] * 24), 4)
    found = {
        (seed, epoch): tuple(i for _, i in drawn(shuffle, schedule(30 * epoch, 30 * (epoch + 1), 30, seed=seed)))
        for seed in range(2)
        for epoch in range(2)
    }
    assert len(set(found.values())) == 4
    assert {tuple(w) for w in shuffle.windows(0, 0)} != {tuple(w) for w in shuffle.windows(0, 1)}


def test_in_a_window_items_of_all_its_groups_are_mixed() -> None:
    """Neighbours in the order are of one group as often as chance has it: 1 in 10."""
    shuffle = Shuffle(groups([50] * 100), 10)
    order = torch.tensor([i for _, i in drawn(shuffle, schedule(0, 1250, 1250))]) // 50
    same = float((order[1:] == order[:-1]).double().mean())
    assert same == pytest.approx(49 / 499, abs=4 * (0.1 * 0.9 / 5000) ** 0.5)


def test_one_window_has_the_order_of_a_corpus_that_is_held() -> None:
    shuffle = Shuffle(groups([3, 9, 1, 7, 12]), 5)
    for epoch in range(3):
        order = [i for _, i in drawn(shuffle, schedule(8 * epoch, 8 * epoch + 8, 8))]
        assert order == random.permutation(3, epoch, 32).tolist()
