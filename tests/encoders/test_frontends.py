"""image, series and waveform: what becomes of stored media."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Frontend

PIXELS = Column("image", "media", "pixels", shape=[4, 6, 3])
FILES = Column("photo", "media", "image")
SERIES = Column("trace", "media", "series", shape=[10, 2])
WAVE = Column("wave", "media", "waveform", rate=8000)
TEXT = Column("said", "media", "text")


def front(name: str, column: Column, **arguments: Any) -> Frontend:
    made: Frontend = registry.make("frontend", Part(name, arguments), column, Path())
    return made


def test_pixels_become_channels_first_in_the_unit_interval() -> None:
    data = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8)
    image = front("image", PIXELS)
    x = image(data)
    assert image.contract == {"kind": "image", "height": 4, "width": 6, "channels": 3}
    assert image.shape == (3, 4, 6)
    assert x.shape == (2, 3, 4, 6)
    assert x.dtype == torch.float32
    for b, c, h, w in [(0, 0, 0, 0), (1, 2, 3, 5), (0, 1, 2, 4)]:
        assert float(x[b, c, h, w]) == pytest.approx(int(data[b, h, w, c]) / 255)


def test_stored_pixels_are_resized_after_decoding_and_files_while_decoding() -> None:
    small = front("image", PIXELS, height=2, width=3)
    assert small.contract["height"] == 4
    assert small(torch.full((1, 4, 6, 3), 51, dtype=torch.uint8)).flatten().tolist() == pytest.approx([0.2] * 18)
    assert small.shape == (3, 2, 3)
    gray = front("image", FILES, height=28, width=28, channels=1)
    assert gray.contract == {"kind": "image", "height": 28, "width": 28, "channels": 1}
    assert front("image", FILES).shape == (3, 32, 32)


def test_a_number_of_channels_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(ContractError, match="has 3 channels, not 1"):
        front("image", PIXELS, channels=1)
    with pytest.raises(ContractError, match="1 or 3 channels"):
        front("image", FILES, channels=2)


def test_series_become_channels_first() -> None:
    data = torch.randn(3, 10, 2)
    series = front("series", SERIES)
    assert series.contract == {"kind": "series", "steps": 10, "channels": 2}
    assert series.shape == (2, 10)
    assert torch.equal(series(data), data.permute(0, 2, 1))


def test_series_of_varying_length_need_a_length() -> None:
    ragged = Column("trace", "media", "series", shape=[-1, 2])
    with pytest.raises(UserError, match="varying length"):
        front("series", ragged)
    assert front("series", ragged, steps=7).shape == (2, 7)


def test_waveforms_are_scaled_to_the_unit_interval() -> None:
    wave = front("waveform", WAVE, samples=4)
    assert wave.contract == {"kind": "waveform", "rate": 8000, "samples": 4}
    assert wave(torch.tensor([[-32768, 0, 16384, 8192]], dtype=torch.int16)).tolist() == [[[-1.0, 0.0, 0.5, 0.25]]]
    assert wave(torch.tensor([[0.5, -0.5, 1.0, 0.0]])).tolist() == [[[0.5, -0.5, 1.0, 0.0]]]


@pytest.mark.parametrize("name", registry.names("frontend"))
def test_a_column_of_a_kind_it_cannot_take_is_named(name: str) -> None:
    column, held = (WAVE, "waveform") if name == "tokens" else (TEXT, "text")
    with pytest.raises(ContractError, match=rf"column '{column.name}' holds {held}"):
        front(name, column)


@pytest.mark.parametrize("name", ["waveform", "log_mel"])
def test_another_rate_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="has 8000 Hz, the front end takes 16000 Hz"):
        front(name, WAVE, rate=16000)
