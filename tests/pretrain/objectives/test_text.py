"""Objectives over text: what is hidden, what is foretold, and what a batch of names must carry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from stages.common import registry
from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import UserError
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded
from stages.ingest.core.tokenizer import trained
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.objectives.mlm import choose, hide
from stages.views.core.base import Key
from tests.oracles import text as slow

TEXTS = ["acute renal failure", "chronic renal failure of the kidney", "ataxia", "muscular dystrophy type two", "flu", ""]
LENGTH = 10


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    folder = tmp_path_factory.mktemp("tokens")
    tokenizer = trained(lambda: iter(TEXTS), TokenizerPlan("words", 40))
    (folder / TOKENIZER).write_text(tokenizer.to_str())
    torch.manual_seed(0)
    parts = (Part("tokens", {"length": LENGTH}), Part("text_transformer", {"dim": 8, "depth": 1, "heads": 2}))
    made = encoders.new(*parts, Column("text", "media", "text"), folder).eval()
    for module in made.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.5)
    return made


def make(name: str, net: Encoder, **arguments: Any) -> Objective:
    torch.manual_seed(1)
    made: Objective = registry.make("objective", Part(name, arguments), net)
    return made


def read(net: Encoder) -> Padded:
    from stages.common.media import tokenised

    stored = tokenised(pa.array(TEXTS, pa.string()), net.frontend.contract["tokenizer"], LENGTH)
    assert stored.lengths is not None
    return Padded(torch.from_numpy(stored.data).long(), torch.from_numpy(stored.lengths))


def batch(net: Encoder, epoch: int = 0, views: int = 1, **known: torch.Tensor) -> Batch:
    x = read(net)
    index = torch.arange(len(x))
    return Batch([x] * views, Key(7, epoch, index), index, known, known)


def test_the_share_of_each_items_symbols_is_hidden_one_at_least_and_never_a_special_one() -> None:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 65, (400,), generator=draw)
    x = torch.randint(5, 90, (400, 64), generator=draw)
    x[:, 0] = 2
    x[torch.arange(64) >= lengths[:, None]] = 0
    x[torch.arange(400), lengths - 1] = 3
    x[::7, 1] = 1  # unknown words
    chosen = choose(x, Key(0, 0, torch.arange(400)), 0.15)
    assert not (chosen & (x < 5)).any()
    for row, hidden in zip(x, chosen, strict=True):
        own = int((row >= 5).sum())
        assert int(hidden.sum()) == (max(1, round(0.15 * own)) if own else 0)
    place = chosen.double().sum(0)[2:8]  # positions that nearly all items have are chosen alike
    assert place.max() / place.min() < 1.8


def test_of_the_hidden_eight_in_ten_are_masked_one_is_another_symbol_and_one_stays() -> None:
    x = torch.randint(5, 100, (500, 60), generator=torch.Generator().manual_seed(0))
    key = Key(3, 1, torch.arange(500))
    chosen = choose(x, key, 0.5)
    out = hide(x, chosen, key, 100, 0.8, 0.1)
    assert torch.equal(out[~chosen], x[~chosen])
    n = int(chosen.sum())
    masked = float((out[chosen] == 4).sum()) / n
    changed = out[chosen][(out[chosen] != 4) & (out[chosen] != x[chosen])]
    error = 4 * (0.25 / n) ** 0.5
    assert masked == pytest.approx(0.8, abs=error) and len(changed) / n == pytest.approx(0.1 * 94 / 95, abs=error)
    assert changed.min() == 5 and changed.max() == 99
    assert torch.equal(hide(x, chosen, key, 100, 0.0, 0.0), x)
    assert (hide(x, chosen, key, 100, 1.0, 0.0)[chosen] == 4).all()


def test_what_is_hidden_depends_on_seed_epoch_and_item_alone() -> None:
    x = torch.randint(5, 50, (6, 30), generator=torch.Generator().manual_seed(0))

    def drawn(rows: torch.Tensor, seed: int = 1, epoch: int = 2) -> torch.Tensor:
        key = Key(seed, epoch, rows)
        return hide(x[rows], choose(x[rows], key, 0.3), key, 50, 0.5, 0.5)

    whole, order = drawn(torch.arange(6)), torch.tensor([4, 1, 5])
    assert torch.equal(drawn(order), whole[order])
    assert not torch.equal(drawn(torch.arange(6), epoch=3), whole)
    assert not torch.equal(drawn(torch.arange(6), seed=2), whole)


def test_the_loss_is_that_of_a_slow_reference(net: Encoder) -> None:
    given = batch(net)
    objective = make("mlm", net, share=0.4).eval()
    nn.init.normal_(objective.bias)  # type: ignore[arg-type]
    terms = objective(net, given)
    x = read(net)
    chosen = choose(x.x, given.key, 0.4)
    hidden = hide(x.x, chosen, given.key, net.frontend.vocabulary, 0.8, 0.1)
    weights = {k: v.double().numpy() for k, v in net.backbone.state_dict().items()}
    states, target = [], []
    for item, own in enumerate(x.lengths.tolist()):
        last = slow.transformer(hidden[item, :own].tolist(), weights, heads=2, depth=1)[-1]
        for place in chosen[item].nonzero()[:, 0].tolist():
            states.append(last[place])
            target.append(int(x.x[item, place]))
    assert len(target) == 1 + 2 + 1 + 2 + 1  # of 3, 6, 1, 4, 1 and 0 words
    mine = {k: v.double().numpy() for k, v in objective.state_dict().items()}
    expected = slow.cross_entropy(np.array(states), mine, weights["symbols.weight"], target)
    assert terms["total"].item() == pytest.approx(expected, rel=1e-5)
    assert not any(name.endswith("output.weight") for name in mine)


def test_tied_or_not_all_weights_learn_but_those_of_pooling(net: Encoder) -> None:
    for tie in (True, False):
        objective = make("mlm", net, tie=tie)
        assert (objective.output is None) == tie  # type: ignore[union-attr]
        net.zero_grad()
        objective(net, batch(net))["total"].backward()
        for name, parameter in objective.optimised(net):
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        seen = net.backbone.get_parameter("symbols.weight").grad
        assert seen is not None and bool(seen.abs().sum(1).all()) == tie  # a tied output moves the symbols that are not there


def test_a_batch_in_which_nothing_can_be_hidden_has_no_loss(net: Encoder) -> None:
    x = Padded(torch.tensor([[2, 3, 0, 0]]), torch.tensor([2]))
    total = make("mlm", net)(net, Batch([x], Key(0, 0, torch.tensor([0])), torch.tensor([0])))["total"]
    total.backward()
    assert total.item() == 0


@pytest.mark.parametrize("wrong", [{"share": 0.0}, {"share": 1.0}, {"masked": 0.9, "replaced": 0.2}, {"masked": -0.1}])
def test_shares_that_are_none_are_the_users_mistake(net: Encoder, wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="no shares of a whole"):
        make("mlm", net, **wrong)


def test_an_encoder_without_words_cannot_hide_them(tmp_path: Path) -> None:
    numbers = Column("n", "media", "tokens")
    parts = (Part("tokens", {"length": 6, "symbols": 9}), Part("text_transformer", {"dim": 8, "heads": 2}))
    with pytest.raises(UserError, match="symbols of a text are hidden"):
        make("mlm", encoders.new(*parts, numbers, tmp_path))
    pixels = Column("p", "media", "pixels", shape=[8, 8, 1])
    with pytest.raises(UserError, match="symbols of a text are hidden"):
        make("mlm", encoders.new(Part("image"), Part("vit", {"dim": 8, "heads": 2}), pixels, tmp_path))


def test_sapbert_aligns_names_with_their_partners(net: Encoder) -> None:
    concept = torch.tensor([0, 0, 1, 2, 3, -1])
    given = batch(net, views=2, concept=concept)
    with torch.no_grad():
        z = net(given.views[0])
        terms = make("sapbert", net, mining=False)(net, given)
    twice = torch.cat([z, z]).double().numpy()
    label = concept.repeat(2)
    known = [i for i, c in enumerate(label.tolist()) if c >= 0]
    kept = [{(known[a], known[b]) for a, b in found} for found in slow.every_pair(label[label >= 0].tolist())]
    expected = slow.multi_similarity(twice, kept[0], kept[1], 1.0, 60.0, 0.5)
    assert terms["total"].item() == pytest.approx(expected, rel=1e-4)
    assert float(terms["positives"]) == float(terms["negatives"]) == 1
    hard = make("sapbert", net)(net, given)
    assert 0 < float(hard["negatives"]) < 1
    hard["total"].backward()
    assert all(p.grad is not None for p in net.parameters())


def test_sapbert_says_what_its_node_lacks(net: Encoder) -> None:
    with pytest.raises(UserError, match="compares views"):
        make("sapbert", net)(net, batch(net, concept=torch.zeros(6)))
    with pytest.raises(UserError, match="no 'concept' beside the views") as caught:
        make("sapbert", net)(net, batch(net, views=2))
    assert "side: [concept]" in str(caught.value)
    for wrong in ({"alpha": 0.0}, {"beta": -1.0}, {"margin": -0.1}):
        with pytest.raises(UserError, match="above 0"):
            make("sapbert", net, **wrong)
