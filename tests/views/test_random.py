"""The counter-based generator."""

from __future__ import annotations

import math

import pytest
import torch

from stages.views.core import random
from stages.views.core.base import Key
from tests.oracles import splitmix


def test_words_are_those_of_splitmix64() -> None:
    words = [w % 2**64 for w in random.bits(torch.tensor(1234567), 5).tolist()]
    assert words == splitmix.sequence(1234567, 5)
    assert words[0] == 6457827717110365317  # the first output of the published reference for this seed


def test_a_sample_keeps_its_numbers_in_whatever_batch_it_is() -> None:
    together = random.uniform(random.of_views(Key(3, 7, torch.arange(10)), 2), 4).view(2, 10, 4)
    alone = random.uniform(random.of_views(Key(3, 7, torch.tensor([9, 4])), 2), 4).view(2, 2, 4)
    assert torch.equal(alone[:, 0], together[:, 9])
    assert torch.equal(alone[:, 1], together[:, 4])


@pytest.mark.parametrize("change", ["seed", "epoch", "sample", "view"])
def test_every_part_of_the_key_changes_the_numbers(change: str) -> None:
    base = {"seed": 1, "epoch": 2, "sample": 3, "view": 4}
    first = random.uniform(random.stream(*base.values()), 8)
    second = random.uniform(random.stream(*(base | {change: base[change] + 1}).values()), 8)
    assert not torch.isclose(first, second).any()


def test_neither_the_order_nor_the_sum_of_the_words_alone_counts() -> None:
    states = {int(random.stream(a, b)) for a in range(30) for b in range(30)}
    assert len(states) == 900


def test_numbers_are_uniform_in_every_direction_of_the_key() -> None:
    n = 40_000
    across_draws = random.uniform(random.stream(0, 0, 0), n)
    across_samples = random.uniform(random.stream(0, 0, torch.arange(n)), 1)[:, 0]
    across_epochs = random.uniform(random.stream(0, torch.arange(n), 0), 1)[:, 0]
    for u in (across_draws, across_samples, across_epochs):
        assert u.min() >= 0 and u.max() < 1
        counts = torch.histc(u, 100, 0, 1)
        chi = ((counts - n / 100).square() / (n / 100)).sum()
        assert chi < 149  # chi-square with 99 degrees of freedom: p = 0.001


def test_neighbouring_samples_views_and_draws_are_uncorrelated() -> None:
    u = random.uniform(random.of_views(Key(0, 0, torch.arange(20_000)), 2), 2).view(2, -1, 2) - 0.5
    pairs = [(u[0, :-1, 0], u[0, 1:, 0]), (u[0, :, 0], u[1, :, 0]), (u[0, :, 0], u[0, :, 1])]
    for a, b in pairs:
        assert abs(float((a * b).mean()) * 12) < 4 / math.sqrt(20_000)


def test_words_at_some_places_are_those_of_the_whole_sequence() -> None:
    state, place = random.stream(4, 2), torch.tensor([0, 999, 7])
    assert torch.equal(random.words(state, place), random.bits(state, 1000)[place])


def test_normal_numbers_have_the_moments_of_the_normal_distribution() -> None:
    x = random.normal(random.stream(5), 100_001).double()
    assert len(x) == 100_001
    assert abs(float(x.mean())) < 0.015
    assert abs(float(x.var()) - 1) < 0.02
    assert abs(float((x**4).mean()) - 3) < 0.15


def test_the_order_of_an_epoch_is_a_permutation_that_seed_and_epoch_fix() -> None:
    order = random.permutation(1, 2, 1000)
    assert torch.equal(order.sort().values, torch.arange(1000))
    assert torch.equal(order, random.permutation(1, 2, 1000))
    fixed = (order == random.permutation(1, 3, 1000)).sum()
    assert fixed < 10


def test_drawing_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    random.normal(random.stream(1), 10)
    random.permutation(0, 0, 10)
    assert torch.equal(before, torch.get_rng_state())
