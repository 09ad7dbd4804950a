"""The front end of events and the GRU over them: against loops, under padding, with wrong input."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder, load, new
from stages.encoders.core.inputs import Padded
from tests.oracles import events as slow

COLUMN = Column("events", "media", "events", classes=["a", "b", "c"])
DATA = torch.tensor([[[0.0, 2, 5.0], [3.0, 1, math.nan], [8.0, 4, -2.0]], [[7.0, 3, 1.0], [0.0, 0, 0.0], [0.0, 0, 0.0]]])
LENGTHS = torch.tensor([3, 1])


def front(**arguments: Any) -> Any:
    return registry.make("frontend", Part("events", {"length": 3, **arguments}), COLUMN, Path())


def encoder(**arguments: Any) -> Encoder:
    torch.manual_seed(0)
    return new(Part("events", {"length": 3}), Part("event_gru", {"dim": 6, "code_dim": 4, **arguments}), COLUMN, Path()).eval()


def test_rows_of_x_are_log_waits_codes_log_values_and_whether_there_is_one() -> None:
    x = front(unit=2.0)(DATA, LENGTHS)
    assert isinstance(x, Padded) and x.lengths.tolist() == [3, 1]
    ln = math.log
    expected = [
        [[0, ln(2.5), ln(5)], [2, 1, 4], [ln(6), 0, -ln(3)], [1, 0, 1]],
        [[0, 0, 0], [3, 0, 0], [ln(2), 0, 0], [1, 0, 0]],  # a first event's wait is none, whatever came before it
    ]
    torch.testing.assert_close(x.x, torch.tensor(expected, dtype=torch.float32))
    assert front().vocabulary == 5 and front().channels == 0


@pytest.mark.parametrize("depth", [1, 2])
def test_the_gru_is_that_of_a_loop_and_gives_the_state_after_the_last_event(depth: int) -> None:
    net = encoder(depth=depth)
    x = net.frontend(DATA, LENGTHS)
    h, layers = net(x), net.hidden(x)
    weights = {k: v.double().numpy() for k, v in net.backbone.state_dict().items()}
    for i, length in enumerate(LENGTHS.tolist()):
        code = x.x[i, 1, :length].long().numpy()
        states = np.concatenate([weights["codes.weight"][code], x.x[i][[0, 2, 3], :length].T.numpy()], 1)
        for layer in range(depth):
            names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
            states = slow.gru(states, *(weights[f"layers.{layer}.{name}"] for name in names))
            np.testing.assert_allclose(layers[layer][i, :length].detach().numpy(), states, atol=1e-6)
        np.testing.assert_allclose(h[i].detach().numpy(), states[-1], atol=1e-6)


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_padding_changes_nothing(pool: str) -> None:
    net = encoder(pool=pool)
    x = net.frontend(DATA, LENGTHS)
    short = net(Padded(x.x[1:, :, :1], LENGTHS[1:]))
    torch.testing.assert_close(net(x)[1:], short)
    noisy = x.x.clone()
    noisy[1, [0, 2, 3], 1:] = 9.0
    torch.testing.assert_close(net(Padded(noisy, LENGTHS))[1:], short)


def test_a_state_has_seen_nothing_after_its_event() -> None:
    net = encoder()
    x = net.frontend(DATA, LENGTHS)
    later = x.x.clone()
    later[0, 2, 2] = 50.0
    a, b = net.hidden(x)[-1], net.hidden(Padded(later, LENGTHS))[-1]
    torch.testing.assert_close(a[0, :2], b[0, :2])
    assert not torch.allclose(a[0, 2], b[0, 2])


def test_a_saved_encoder_knows_its_codes(tmp_path: Path) -> None:
    from stages.encoders.core.encoder import EncoderCard, save

    net = encoder()
    card = EncoderCard(
        Part("events", {"length": 3}), Part("event_gru", {"dim": 6, "code_dim": 4}), COLUMN, "c", "", "", "none", 0, 0, 6
    )
    save(tmp_path, net, card)
    again, _ = load(tmp_path)
    assert again.frontend.contract == net.frontend.contract and again.frontend.contract["codes"] == ["a", "b", "c"]
    x = net.frontend(DATA, LENGTHS)
    torch.testing.assert_close(again(x), net(x))


def test_what_is_no_sequence_of_events_is_refused() -> None:
    with pytest.raises(ContractError, match="takes events"):
        registry.make("frontend", Part("events", {}), Column("t", "media", "text"), Path())
    with pytest.raises(UserError, match=r"the codes of column 'events' are not known"):
        registry.make("frontend", Part("events", {}), Column("events", "media", "events"), Path())
    with pytest.raises(ContractError, match="`event_gru` takes events"):
        registry.make("backbone", Part("event_gru", {}), SimpleNamespace(shape=(3, 8), vocabulary=0))
    for wrong in ({"length": 0}, {"unit": 0.0}):
        with pytest.raises(UserError, match="must be 1 or more"):
            front(**wrong)
    with pytest.raises(UserError, match="1 or more"):
        encoder(dim=0)
