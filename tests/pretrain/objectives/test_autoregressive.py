"""Foretelling the next symbol: the shift, the padding, the loss, and what is saved for it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.autoregressive import Autoregressive, following, foretold
from stages.views.core.base import Key
from tests.oracles import othello as slow

COLUMN = Column("moves", "media", "tokens", classes=[str(i) for i in range(9)])
LENGTHS = torch.tensor([5, 2, 1, 4])


def make(backbone: str = "gpt") -> Encoder:
    torch.manual_seed(0)
    parts = (Part("tokens", {"length": 5}), Part(backbone, {"dim": 8, "depth": 2, "heads": 2}))
    net = encoders.new(*parts, COLUMN, Path("nowhere")).eval()
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.5)
    return net


def batch(padding: int = 0) -> Batch:
    x = torch.randint(1, 9, (4, 5), generator=torch.Generator().manual_seed(1))
    x[torch.arange(5) >= LENGTHS[:, None]] = padding
    return Batch([Padded(x, LENGTHS)], Key(0, 0, torch.arange(4)), torch.arange(4))


def test_the_loss_is_that_of_a_slow_reference() -> None:
    net = make()
    objective = Autoregressive(net)
    nn.init.normal_(objective.projector[0].weight)  # type: ignore[arg-type]
    given = batch().views[0]
    assert isinstance(given, Padded)
    own = [row[:n].tolist() for row, n in zip(given.x, LENGTHS.tolist(), strict=True)]
    weights = {k: v.double().numpy() for k, v in net.backbone.state_dict().items()}
    w, b = (objective.projector[0].get_parameter(n).detach().double().numpy() for n in ("weight", "bias"))
    logits = np.zeros((4, 5, 9))
    right = []
    for i, symbols in enumerate(own):
        logits[i, : len(symbols)] = slow.causal(symbols, weights, heads=2, depth=2)[-1] @ w.T + b
        right += [logits[i, t].argmax() == symbols[t + 1] for t in range(len(symbols) - 1)]
    terms = objective(net, batch())
    assert terms["total"].item() == pytest.approx(slow.next_symbol_loss(logits, own), rel=1e-5)
    assert terms["accuracy"].item() == pytest.approx(np.mean(right))


def test_what_stands_in_the_padding_changes_nothing() -> None:
    net = make()
    objective = Autoregressive(net)
    assert objective(net, batch(0))["total"].item() == objective(net, batch(7))["total"].item()


def test_targets_are_the_next_symbols_and_none_at_the_end() -> None:
    x = torch.tensor([[3, 1, 4], [1, 5, 0]])
    own = torch.tensor([[True, True, True], [True, True, False]])
    assert following(x, own).tolist() == [[1, 4, -100], [5, -100, -100]]
    assert following(x, None).tolist() == [[1, 4, -100], [5, 0, -100]]


def test_the_loss_has_its_closed_forms() -> None:
    target = torch.tensor([[1, 4, -100], [5, -100, -100]])
    assert foretold(torch.zeros(2, 3, 7), target).item() == pytest.approx(math.log(7))
    sure = torch.zeros(2, 3, 7)
    sure[0, 0, 1] = sure[0, 1, 4] = sure[1, 0, 5] = 50.0
    assert foretold(sure, target).item() == pytest.approx(0, abs=1e-6)
    assert foretold(torch.randn(2, 3, 7), torch.full((2, 3), -100)).item() == 0
    logits = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: foretold(v, target), logits)


def test_the_map_to_logits_is_a_projector_that_is_saved_and_read_back(tmp_path: Path) -> None:
    net = make()
    objective = Autoregressive(net)
    parts = (Part("tokens", {"length": 5}), Part("gpt", {"dim": 8, "depth": 2, "heads": 2}))
    card = encoders.EncoderCard(
        *parts, COLUMN, "c", "d", "s", "autoregressive", 0, 1, 8, projector=objective.projector.arguments
    )
    encoders.save(tmp_path, net, card, objective.projector)
    h = torch.randn(3, 8)
    torch.testing.assert_close(encoders.load_projector(tmp_path)(h), objective.projector(h))
    names = {name for name, _ in objective.optimised(net)}
    assert {"objective.projector.0.weight", "encoder.backbone.symbols.weight"} <= names


def test_encoders_without_symbols_or_that_see_what_follows_are_refused() -> None:
    with pytest.raises(UserError, match="know what follows"):
        registry.make("objective", Part("autoregressive"), make("text_transformer"))
    image = Column("image", "media", "pixels", shape=[8, 8, 3])
    net = encoders.new(Part("image"), Part("mlp"), image, Path("nowhere"))
    with pytest.raises(UserError, match="this encoder has none"):
        registry.make("objective", Part("autoregressive"), net)
