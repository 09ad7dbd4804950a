"""Stretches of sequences of events: whole, in range, uniform, and the same in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.inputs import Padded
from stages.views.core.base import Key
from stages.views.subsequence import stretches

FRONT: Any = registry.make(
    "frontend", Part("events", {"length": 40}), Column("events", "media", "events", classes=["a"] * 60), Path()
)
LENGTHS = torch.tensor([40, 25, 6, 1])
DATA = torch.zeros(4, 40, 3)
for i, n in enumerate(LENGTHS.tolist()):
    DATA[i, :n, 0], DATA[i, :n, 1], DATA[i, :n, 2] = torch.arange(1.0, n + 1), torch.arange(2.0, n + 2), 1.0


def views(**arguments: Any) -> Any:
    return registry.make("views", Part("subsequence", {"shortest": 5, "longest": 12, **arguments}), FRONT)


def key(*rows: int, epoch: int = 0) -> Key:
    return Key(3, epoch, torch.tensor(rows))


def test_a_view_is_events_that_follow_one_another_within_the_sequence() -> None:
    made = views()
    for epoch in range(20):
        for x in made(DATA, LENGTHS, key(0, 1, 2, 3, epoch=epoch)):
            assert isinstance(x, Padded) and x.x.shape == (4, 4, 12)
            for i, (length, count) in enumerate(zip(LENGTHS.tolist(), x.lengths.tolist(), strict=True)):
                assert min(5, length) <= count <= min(12, length)
                code = x.x[i, 1, :count]
                assert (code.diff() == 1).all() and code[0] >= 2 and code[-1] < length + 2
                assert x.x[i, 0, 0] == 0 and (x.x[i, 0, 1:count] > 0).all() and not x.x[i, :, count:].any()


def test_lengths_and_starts_are_uniform() -> None:
    n = 40_000
    draws = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    start, count = stretches(torch.full((n,), 9), draws, 3, 6)
    assert start.dtype == count.dtype == torch.int64
    for size in (3, 4, 5, 6):
        of = start[count == size]
        assert abs(len(of) / n - 0.25) < 0.01
        shares = torch.bincount(of, minlength=10 - size) / len(of)
        assert len(shares) == 10 - size and (shares - 1 / (10 - size)).abs().max() < 0.02


def test_a_view_depends_on_its_own_row_alone() -> None:
    made = views()
    whole, part = made(DATA, LENGTHS, key(7, 8, 9, 4)), made(DATA[1:3], LENGTHS[1:3], key(8, 9))
    for a, b in zip(whole, part, strict=True):
        torch.testing.assert_close(a.x[1:3], b.x)
        assert a.lengths[1:3].tolist() == b.lengths.tolist()
    assert any(
        not torch.equal(a.x[0], b.x[0]) for a, b in zip(whole, made(DATA, LENGTHS, key(7, 8, 9, 4, epoch=1)), strict=True)
    )
    assert not torch.equal(whole[0].x, whole[1].x) and len(whole) == 5


def test_sequences_shorter_than_the_longest_stretch_are_narrower() -> None:
    assert views(longest=64)(DATA, LENGTHS, key(0, 1, 2, 3))[0].x.shape == (4, 4, 40)
    assert views()(DATA, None, key(0, 1, 2, 3))[0].lengths.min() >= 5


def test_wrong_arguments_and_media_are_refused() -> None:
    for wrong in ({"views": 0}, {"shortest": 0}, {"shortest": 13}):
        with pytest.raises(UserError, match="write 1 or more"):
            views(**wrong)
    image = registry.make("frontend", Part("image", {}), Column("p", "media", "pixels", shape=[8, 8, 3]), Path())
    with pytest.raises(ContractError, match="takes events, not image"):
        registry.make("views", Part("subsequence", {}), image)
