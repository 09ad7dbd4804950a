"""Spans of hidden steps: where they lie, how many, and what they depend on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.views.core import random
from stages.views.core.spans import spans
from tests.oracles import wav2vec2 as slow


def own(*lengths: int, steps: int | None = None) -> Tensor:
    return torch.arange(steps or max(lengths)) < torch.tensor(lengths).unsqueeze(1)


def state(n: int, seed: int = 0) -> Tensor:
    return random.stream(seed, torch.arange(n))


def starts(hidden: list[bool], length: int) -> int:
    """The fewest spans that give this cover, if spans give it at all."""
    at = count = 0
    while at < len(hidden):
        if hidden[at]:
            run = hidden[at:].index(False) if False in hidden[at:] else len(hidden) - at
            assert run >= length
            count += -(-run // length)
            at += run
        at += 1
    return count


def test_what_is_hidden_are_whole_spans_within_each_items_own_steps() -> None:
    lengths = torch.arange(8, 72).tolist()
    hidden = spans(state(64), own(*lengths), probability=0.08, length=5)
    for row, n in zip(hidden.tolist(), lengths, strict=True):
        assert not any(row[n:]) and 1 <= starts(row[:n], 5) <= 0.08 * n + 1


def test_the_number_of_spans_is_the_share_of_steps_rounded_at_random() -> None:
    n, p = 50, 0.13  # 6.5 spans of one step: no overlap hides their number
    counts = spans(state(4000), own(*[n] * 4000), probability=p, length=1).sum(1)
    assert set(counts.tolist()) == {6, 7}
    assert float(counts.float().mean()) == pytest.approx(n * p, abs=0.03)


def test_the_papers_arguments_hide_about_half_of_a_long_item() -> None:
    share = spans(state(200), own(*[1000] * 200), probability=0.065, length=10).float().mean()
    assert float(share) == pytest.approx(1 - (1 - 0.065) ** 10, abs=0.01)  # 0.49, sec. 4.2


def test_spans_start_anywhere_they_fit_equally_often() -> None:
    n, length, p = 12, 4, 0.15
    hidden = spans(state(20000), own(*[n] * 20000), probability=p, length=length, least=1)
    one = hidden[hidden.sum(1) == length]  # a single span
    first = one.int().argmax(1)
    counts = torch.bincount(first, minlength=n)
    assert counts[n - length + 1 :].sum() == 0
    expected = len(one) / (n - length + 1)
    assert float((counts[: n - length + 1] - expected).abs().max()) < 5 * expected**0.5


def test_overlapping_spans_cover_what_the_union_of_their_steps_covers() -> None:
    hidden = spans(state(1), own(30), probability=0.5, length=4)[0].tolist()
    begun = [t for t in range(30) if all(hidden[t : t + 4]) and t + 4 <= 30]
    assert slow.covered(begun, 4, 30) == hidden


def test_a_short_item_is_hidden_whole_and_none_is_missed() -> None:
    hidden = spans(state(4), own(1, 3, 10, 40), probability=0.0, length=10)
    assert hidden.sum(1).tolist() == [1, 3, 10, 10]
    assert spans(state(2), own(40, 40), probability=0.0, length=3, least=0).sum() == 0


def test_a_mask_depends_on_its_stream_and_its_own_steps_alone() -> None:
    many = spans(state(8), own(*range(20, 28), steps=60), probability=0.1, length=4)
    for i in range(8):
        alone = spans(state(8)[i : i + 1], own(20 + i, steps=60), probability=0.1, length=4)
        assert torch.equal(alone[0], many[i])
    assert not torch.equal(many, spans(state(8, seed=1), own(*range(20, 28), steps=60), probability=0.1, length=4))


@pytest.mark.parametrize("wrong", [{"probability": 1.5}, {"probability": -0.1}, {"length": 0}])
def test_arguments_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="span"):
        spans(state(1), own(5), **({"probability": 0.1, "length": 2} | wrong))  # type: ignore[arg-type]
