"""Text infilling: what is hidden, how much of it, and where; against a reference symbol by symbol."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy import stats

from stages.common.errors import UserError
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, Padded
from stages.views.core.base import Key
from stages.views.core.infilling import infilled, poisson
from stages.views.span_infilling import SpanInfilling
from tests.oracles import infilling as slow

WIDTH = 40


def texts(count: int, least: int = 0, most: int = WIDTH - 2, seed: int = 0) -> Padded:
    """[CLS], 0 to WIDTH - 2 symbols that count up from 5, [SEP], padding."""
    n = torch.randint(least, most + 1, (count,), generator=torch.Generator().manual_seed(seed))
    place = torch.arange(WIDTH)
    x = torch.where(place <= n[:, None], place + 4, 0)
    x[:, 0] = 2
    x[torch.arange(count), n + 1] = 3
    return Padded(x, n + 2)


def key(count: int, epoch: int = 0) -> Key:
    return Key(3, epoch, torch.arange(count) + 100)


@pytest.mark.parametrize(("share", "mean"), [(0.3, 3.0), (0.3, 0.4), (0.9, 1.0), (0.1, 6.0)])
def test_it_is_what_the_reference_makes_symbol_by_symbol(share: float, mean: float) -> None:
    x = texts(300)
    found = infilled(x, key(300), share=share, mean=mean)
    assert found.x.shape == x.x.shape
    for i in range(300):
        own = x.x[i, : x.lengths[i]].tolist()
        expected = slow.infilled(own, WIDTH, (3, 0, 100 + i), share, mean)
        assert found.x[i].tolist() == expected + [0] * (WIDTH - len(expected)), i
        assert int(found.lengths[i]) == len(expected)


def test_what_stays_is_in_order_and_the_share_is_hidden_to_the_symbol() -> None:
    x = texts(500, least=1)
    found = infilled(x, key(500), share=0.3, mean=3.0)
    for before, n, after, m in zip(x.x, x.lengths - 2, found.x, found.lengths, strict=True):
        kept = [s for s in after[1 : m - 1].tolist() if s != 4]
        assert kept == sorted(kept) and set(kept) <= set(before.tolist())
        assert len(kept) == n - max(1, round(0.3 * int(n)))
        assert after[0] == 2 and after[m - 1] == 3 and not after[m:].any()


def test_lengths_of_spans_are_poissons() -> None:
    u = torch.rand(50_000, generator=torch.Generator().manual_seed(0))
    found = Counter(poisson(u, 3.0).tolist())
    expected = [stats.poisson.pmf(k, 3.0) * 50_000 for k in range(10)]
    assert stats.chisquare([found[k] for k in range(9)] + [50_000 - sum(found[k] for k in range(9))],
                           [*expected[:9], 50_000 - sum(expected[:9])]).pvalue > 1e-3  # fmt: skip
    assert poisson(torch.tensor([0.0, 1 - 2**-24]), 3.0).tolist()[0] == 0


def test_every_place_of_a_text_is_hidden_equally_often_but_for_its_ends() -> None:
    """All orders are equally likely, so a mask lies anywhere in the corrupted text equally often."""
    x = texts(4000, least=30, most=30)
    found = infilled(x, key(4000), share=0.3, mean=3.0)
    masks = [int((found.x[:, p] == 4).sum()) for p in range(1, 20)]
    assert stats.chisquare(masks).pvalue > 1e-3


def test_it_depends_on_the_sample_and_the_epoch_not_on_the_batch() -> None:
    x = texts(20, least=20)
    whole = infilled(x, key(20), share=0.3, mean=3.0)
    some = infilled(Padded(x.x[5:9], x.lengths[5:9]), Key(3, 0, torch.arange(105, 109)), share=0.3, mean=3.0)
    assert torch.equal(whole.x[5:9], some.x)
    assert not torch.equal(whole.x, infilled(x, key(20, epoch=1), share=0.3, mean=3.0).x)


class Words(Frontend):
    """Symbols as they are."""

    def __init__(self, tokenizer: str | None = "t") -> None:
        self.shape, self.vocabulary, self.contract = (WIDTH,), 50, {"tokenizer": tokenizer}

    def __call__(self, data: torch.Tensor, lengths: torch.Tensor | None = None) -> Input:
        return data.long() if lengths is None else Padded(data.long(), lengths)


def test_the_views_are_the_corrupted_text_and_the_original() -> None:
    x = texts(6, least=10)
    corrupted, original = SpanInfilling(Words())(x.x.int(), x.lengths, key(6))
    assert isinstance(original, Padded) and torch.equal(original.x, x.x) and torch.equal(original.lengths, x.lengths)
    assert isinstance(corrupted, Padded) and torch.equal(corrupted.x, infilled(x, key(6), share=0.3, mean=3.0).x)


def test_what_cannot_be_hidden_is_refused() -> None:
    for wrong in ({"share": 0.0}, {"share": 1.0}, {"mean": 0.0}, {"mean": 1000.0}):
        with pytest.raises(UserError, match="span_infilling"):
            SpanInfilling(Words(), **wrong)
    with pytest.raises(UserError, match="there are none"):
        SpanInfilling(Words(None))
    with pytest.raises(UserError, match="without their lengths"):
        SpanInfilling(Words())(texts(2).x, None, key(2))
