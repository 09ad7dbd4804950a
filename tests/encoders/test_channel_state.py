"""The front end of radio channels: its three parts, the level of the phase, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.frontends.channel_state import ChannelState, level
from tests.oracles import channel as slow

COLUMN = Column("csi", "media", "series", shape=[6, 4])  # six subcarriers, two antennas
GAP = [[-3, -1], [1, 3]]
NUMBERS = [-3, -2, -1, 1, 2, 3]


def front(column: Column = COLUMN, **arguments: Any) -> ChannelState:
    made: ChannelState = registry.make("frontend", Part("channel_state", arguments), column, Path())
    return made


def stored(n: int = 3, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 400, (n, 6, 4)).astype(np.float32))


def channels(data: Tensor) -> Tensor:
    """(B, A, K) complex."""
    return torch.complex(data[..., 0::2], data[..., 1::2]).transpose(1, 2)


def test_it_gives_real_part_imaginary_part_and_magnitude_of_each_antenna() -> None:
    made, data = front(peak=500.0), stored()
    assert made.contract == {"kind": "series", "steps": 6, "channels": 4} and made.shape == (6, 6)
    x, h = made(data), channels(data)
    for a in range(2):
        torch.testing.assert_close(x[:, a], h[:, a].real / 500)
        torch.testing.assert_close(x[:, 2 + a], h[:, a].imag / 500)
        torch.testing.assert_close(x[:, 4 + a], h[:, a].abs() / 500)


def test_without_a_peak_each_items_largest_magnitude_is_one() -> None:
    data = stored()
    x = front()(data)
    assert x[:, 4:].amax(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1])
    torch.testing.assert_close(front()(data * torch.tensor([2.0, 30.0, 0.1]).view(3, 1, 1)), x)
    assert not front()(torch.zeros(1, 6, 4)).any()


def test_the_level_matches_the_loop_over_subcarriers() -> None:
    h = channels(stored().double())
    found = level(h, torch.tensor(NUMBERS)).numpy()
    np.testing.assert_allclose(found, [slow.levelled(item.tolist(), NUMBERS) for item in h], rtol=1e-9, atol=1e-9)


def test_a_receivers_phase_and_delay_do_not_matter_once_the_phase_is_level() -> None:
    data = stored()
    h, numbers = channels(data), torch.tensor(NUMBERS)
    a, b = torch.tensor([0.3, -2.0, 3.0]), torch.tensor([0.2, 1.5, -0.7])
    turned = h * torch.exp(1j * (a.view(3, 1, 1) + b.view(3, 1, 1) * numbers))
    moved = torch.view_as_real(turned.transpose(1, 2).contiguous()).flatten(2)
    plain = front(phase="level", bands=GAP)(data)
    torch.testing.assert_close(front(phase="level", bands=GAP)(moved), plain, atol=1e-4, rtol=1e-3)
    assert (front(phase="stored")(moved) - front()(data)).abs().max() > 0.1
    assert (front(phase="level")(moved) - front(phase="level")(data)).abs().max() > 0.1  # the gap was not known


def test_the_phase_of_a_plane_wave_is_zero_once_it_is_level() -> None:
    wave = torch.exp(1j * (0.4 + 0.9 * torch.arange(8.0))).view(1, 1, 8)
    torch.testing.assert_close(level(wave, torch.arange(8)), torch.ones(1, 1, 8, dtype=torch.complex64), atol=1e-5, rtol=0)


def test_a_silent_item_stays_finite() -> None:
    assert torch.isfinite(front(phase="level", bands=GAP)(torch.zeros(2, 6, 4))).all()


def test_what_holds_no_channel_is_refused() -> None:
    with pytest.raises(ContractError, match="series of 3 channels"):
        front(Column("csi", "media", "series", shape=[6, 3]))
    with pytest.raises(UserError, match="varying length"):
        front(Column("csi", "media", "series", shape=[-1, 2]))
    with pytest.raises(UserError, match="hold 5 subcarriers, column 'csi' 6"):
        front(bands=[[-2, 2]])
    with pytest.raises(UserError, match="peak"):
        front(peak=0.0)
