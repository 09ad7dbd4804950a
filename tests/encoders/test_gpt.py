from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.backbones.gpt import GPT
from stages.encoders.core.inputs import Padded
from tests.oracles import othello as slow

SMALL = {"dim": 8, "depth": 2, "heads": 2}
LENGTHS = torch.tensor([6, 3, 4, 1])


def make(**arguments: Any) -> GPT:
    """A network whose norms and positions do something, in eval mode."""
    torch.manual_seed(0)
    frontend = SimpleNamespace(shape=(6,), vocabulary=11)
    made: GPT = registry.make("backbone", Part("gpt", SMALL | arguments), frontend)
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


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_each_state_is_what_a_slow_reference_makes_of_the_symbols_up_to_it(pool: str) -> None:
    net, x = make(pool=pool), batch()
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    for item, own in enumerate(LENGTHS.tolist()):
        expected = slow.causal(x.x[item, :own].tolist(), weights, heads=2, depth=2)
        for got, wanted in zip(layers, expected, strict=True):
            np.testing.assert_allclose(got[item, :own].numpy(), wanted, rtol=1e-4, atol=1e-5)
        pooled = expected[-1][-1] if pool == "last" else expected[-1].mean(0)
        np.testing.assert_allclose(h[item].numpy(), pooled, rtol=1e-4, atol=1e-5)


def test_a_later_symbol_changes_no_earlier_state_and_an_earlier_one_does() -> None:
    net, x = make(), batch().x[:1].clone()
    other = x.clone()
    other[0, 3] = x[0, 3] % 10 + 1
    with torch.inference_mode():
        for one, two in zip(net.hidden(x), net.hidden(other), strict=True):
            torch.testing.assert_close(one[:, :3], two[:, :3], rtol=0, atol=0)
            assert (one[:, 3:] - two[:, 3:]).abs().amax(2).min() > 1e-4


def test_tokens_that_were_picked_out_see_those_before_them_by_position() -> None:
    net, x = make(), batch().x[:1]
    tokens = net.embed(x)
    with torch.inference_mode():
        shuffled = net.encode(tokens.at(torch.tensor([[2, 0, 1]])))[-1]
        plain = net.encode(tokens.at(torch.tensor([[0, 1, 2]])))[-1]
        torch.testing.assert_close(shuffled, plain[:, [2, 0, 1]])
        torch.testing.assert_close(plain, net.hidden(x)[-1][:, :3])


def test_weights_that_end_a_branch_begin_smaller() -> None:
    torch.manual_seed(0)
    net = GPT(SimpleNamespace(shape=(6,), vocabulary=11), dim=64, depth=8, heads=2)  # type: ignore[arg-type]
    for block in net.blocks:
        assert block.out.weight.std().item() == pytest.approx(0.0176 / 4, rel=0.1)  # type: ignore[union-attr,operator]
        assert block.qkv.weight.std().item() == pytest.approx(0.0176, rel=0.1)  # type: ignore[union-attr,operator]


def test_arguments_and_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match="multiple of heads"):
        make(heads=3)
    with pytest.raises(UserError, match="depth 0"):
        make(depth=0)
    with pytest.raises(ContractError, match="takes symbols"):
        GPT(SimpleNamespace(shape=(3, 8, 8), vocabulary=0))  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="7 symbols is longer than the 6"):
        make().embed(torch.ones(1, 7, dtype=torch.int64))
