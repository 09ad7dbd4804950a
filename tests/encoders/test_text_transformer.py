from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.backbones.text_transformer import TextTransformer
from stages.encoders.core.inputs import Padded
from tests.oracles import text as slow

SMALL = {"dim": 8, "depth": 2, "heads": 2}
LENGTHS = torch.tensor([6, 3, 4, 1])


def make(length: int = 6, vocabulary: int = 11, **arguments: Any) -> TextTransformer:
    """A network whose norms and positions do something, in eval mode."""
    torch.manual_seed(0)
    frontend = SimpleNamespace(shape=(length,), vocabulary=vocabulary)
    made: TextTransformer = registry.make("backbone", Part("text_transformer", SMALL | arguments), frontend)
    for module in made.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.5)
    nn.init.normal_(made.positions, std=0.5)
    return made.eval()


def batch() -> Padded:
    x = torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(1))
    x[torch.arange(6) >= LENGTHS[:, None]] = 0
    return Padded(x, LENGTHS)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_each_item_is_what_a_slow_reference_makes_of_its_own_symbols(pool: str) -> None:
    net, x = make(pool=pool), batch()
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    for item, own in enumerate(LENGTHS.tolist()):
        expected = slow.transformer(x.x[item, :own].tolist(), weights, heads=2, depth=2)
        for got, wanted in zip(layers, expected, strict=True):
            np.testing.assert_allclose(got[item, :own].numpy(), wanted, rtol=1e-4, atol=1e-5)
        pooled = expected[-1][0] if pool == "cls" else expected[-1].mean(0)
        np.testing.assert_allclose(h[item].numpy(), pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_what_stands_in_the_padding_and_how_long_it_is_change_nothing(pool: str) -> None:
    net, x = make(pool=pool), batch()
    other = x.x.clone()
    other[~x.own()] = 7
    with torch.inference_mode():
        h = net(x)
        torch.testing.assert_close(net(Padded(other, LENGTHS)), h)
        torch.testing.assert_close(net(Padded(x.x[1:, :4], LENGTHS[1:])), h[1:])
        assert (net(other) - net(x.x)).abs().max() > 1e-3  # without lengths all symbols are an item's own


@pytest.mark.parametrize("groups", [2, 3, 9])
@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_groups_of_like_length_give_what_the_whole_batch_does(pool: str, groups: int) -> None:
    net, x = make(pool=pool), batch()
    expected = net(x)
    net.groups = groups
    widths: list[int] = []
    net.blocks[0].register_forward_pre_hook(lambda _, given: widths.append(given[0].shape[1]))
    torch.testing.assert_close(net(x), expected)
    assert widths == {2: [3, 6], 3: [3, 6], 9: [1, 3, 4, 6]}[groups]  # of items of length 1, 3, 4 and 6
    assert net(x.x).shape == (4, 8)


def test_the_order_of_symbols_matters_by_their_positions_alone() -> None:
    net = make(pool="mean")
    x = torch.tensor([[2, 5, 6, 7, 8, 3]])
    with torch.inference_mode():
        assert (net(x) - net(x.flip(1))).abs().max() > 1e-3
        nn.init.zeros_(net.positions)
        torch.testing.assert_close(net(x), net(x.flip(1)))


def test_parameters_are_counted_by_the_closed_form() -> None:
    block = 12 * 8 * 8 + 13 * 8
    assert sum(p.numel() for p in make().parameters()) == 11 * 8 + 6 * 8 + 2 * block + 2 * 8
    with torch.device("meta"):
        frontend = SimpleNamespace(shape=(512,), vocabulary=30522)
        base = registry.make("backbone", Part("text_transformer", {"dim": 768, "depth": 12, "heads": 12}), frontend)
    assert sum(p.numel() for p in base.parameters()) == 109_482_240 - 590_592 - 2 * 768  # BERT base without pooler and segments


def test_some_of_the_symbols_can_be_encoded_alone() -> None:
    net, x = make(), batch()
    with torch.inference_mode():
        kept = net.embed(x).at(torch.tensor([[0, 2], [1, 0], [3, 1], [0, 5]]))
        assert kept.own is not None and kept.own.tolist() == [[True, True], [True, True], [True, True], [True, False]]
        last = net.encode(kept)[-1]
        alone = net.encode(net.embed(Padded(x.x[3:, :1], LENGTHS[3:])))[-1]
        torch.testing.assert_close(last[3, 0], alone[0, 0])


def test_dropout_acts_in_training_alone() -> None:
    net, x = make(dropout=0.5), batch()
    with torch.inference_mode():
        assert torch.equal(net(x), net(x))
        net.train()
        torch.manual_seed(0)
        assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize("length", [7, 12])
def test_a_sequence_longer_than_its_positions_is_refused(length: int) -> None:
    with pytest.raises(ContractError, match=rf"sequence of {length} symbols is longer than the 6 positions"):
        make()(torch.ones(1, length, dtype=torch.int64))
    with pytest.raises(ContractError, match=rf"sequence of {length} symbols is longer than the 6 positions"):
        make(length=length, positions=6)
    assert make(positions=length)(batch()).shape == (4, 8)


def test_arguments_and_front_ends_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of heads"):
        make(dim=9)
    with pytest.raises(ContractError, match="11 symbols, and embeddings of 10"):
        make(table=10)
    assert make(table=20).symbols.num_embeddings == 20
    for wrong in ({"dropout": 1.0}, {"depth": 0}, {"groups": 0}):
        with pytest.raises(UserError, match="dropout"):
            make(**wrong)
    for shape, vocabulary in (((3, 8, 8), 0), ((6,), 0)):
        with pytest.raises(ContractError, match="takes symbols"):
            registry.make("backbone", Part("text_transformer"), SimpleNamespace(shape=shape, vocabulary=vocabulary))


def test_every_weight_learns() -> None:
    net = make(pool="mean")
    net(batch()).square().sum().backward()
    for name, parameter in net.named_parameters():
        gradient: Tensor | None = parameter.grad
        assert gradient is not None and gradient.abs().sum() > 0, name
