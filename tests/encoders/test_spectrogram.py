"""The front end `spectrogram` against SciPy's transform and loops over superlets, and its z-scores."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.frontends.spectrogram import Spectrogram, scored, superlets
from tests.oracles import brainbert as slow

COLUMN = Column("eeg", "media", "series", shape=[256, 1], rate=256)


def front(column: Column = COLUMN, **arguments: Any) -> Spectrogram:
    made: Spectrogram = registry.make("frontend", Part("spectrogram", arguments), column, Path())
    return made


def signal(n: int = 3, length: int = 256, seed: int = 0) -> Tensor:
    return torch.randn(n, length, 1, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("window", "hop", "n_fft", "bins"), [(64, 8, 128, 40), (50, 6, None, 26), (32, 10, 32, 5)])
def test_magnitudes_are_scipys(window: int, hop: int, n_fft: int | None, bins: int) -> None:
    made, data = front(window=window, hop=hop, n_fft=n_fft, bins=bins, zscore=False), signal()
    frames = 1 + 256 // hop
    assert made.shape == (1, bins, frames) and made.contract == {"kind": "series", "steps": 256, "channels": 1}
    hz, _, found = scipy.signal.stft(
        data[..., 0].numpy(), 256, "hann", window, window - hop, n_fft, boundary="zeros", padded=True, scaling="spectrum"
    )
    expected = np.abs(found)[:, :bins, :frames] * scipy.signal.get_window("hann", window).sum()
    np.testing.assert_allclose(made(data)[:, 0].numpy(), expected, atol=2e-4)
    assert hz[1] == 256 / (n_fft or window)


def test_superlets_are_the_loop_over_samples() -> None:
    x, hz = signal(2, 60)[..., 0], torch.tensor([4.0, 13.0, 40.0], dtype=torch.float64)
    found = superlets(x, hz, 128.0, [1.5, 3.0, 4.5])
    for item in range(2):
        for k, f in enumerate(hz.tolist()):
            expected = slow.superlet(x[item].double().numpy(), f, 128.0, [1.5, 3.0, 4.5])
            np.testing.assert_allclose(found[item, k].numpy(), expected, rtol=2e-3, atol=1e-5)


def test_a_sines_superlet_is_its_amplitude_over_root_two() -> None:
    time = torch.arange(1024) / 256
    found = superlets(
        (3 * torch.sin(2 * math.pi * 20 * time))[None], torch.tensor([20.0], dtype=torch.float64), 256.0, [3.0, 6.0]
    )
    torch.testing.assert_close(found[0, 0, 300:700], torch.full((400,), 3 / math.sqrt(2)), rtol=2e-3, atol=0)


def test_more_wavelets_part_two_near_frequencies() -> None:
    time = torch.arange(1024) / 256
    x = (torch.sin(2 * math.pi * 20 * time) + torch.sin(2 * math.pi * 30 * time))[None]
    hz = torch.tensor([20.0, 25.0], dtype=torch.float64)
    one, five = (superlets(x, hz, 256.0, [3.0 * (i + 1) for i in range(n)])[0, :, 300:700].mean(1) for n in (1, 5))
    assert five[1] / five[0] < 0.5 * one[1] / one[0]


def test_a_superlet_front_end_has_as_many_frames_and_its_own_frequencies() -> None:
    made = front(transform="superlet", hop=8, bins=7, low_hz=4.0, zscore=False)
    assert made(signal()).shape == (3, *made.shape) == (3, 1, 7, 33)
    assert made.hz[0] == 4 and made.hz[-1] == 128 and made.cycles == [3, 6, 9, 12, 15]
    padded = torch.nn.functional.pad(signal()[..., 0], (0, 1))
    torch.testing.assert_close(made(signal())[:, 0], superlets(padded, made.hz, 256.0, made.cycles)[..., ::8])


def test_each_frequency_of_each_item_is_scored_and_a_still_one_is_zero() -> None:
    x = front(window=64, hop=8, bins=33)(signal())
    torch.testing.assert_close(x.mean(-1), torch.zeros(3, 1, x.shape[2]), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(-1, correction=0), torch.ones(3, 1, x.shape[2]), atol=1e-4, rtol=0)
    still = torch.ones(1, 2, 4)
    still[0, 1] = torch.tensor([0.0, 2.0, 0.0, 2.0])
    assert scored(still).tolist() == [[[0, 0, 0, 0], [-1, 1, -1, 1]]]
    assert not front(window=64, hop=8, bins=33)(torch.zeros(1, 256, 1)).any()


def test_an_items_level_does_not_matter() -> None:
    made, data = front(window=64, hop=8, bins=33), signal()
    torch.testing.assert_close(made(1000 * data), made(data), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("column", "arguments", "error", "says"),
    [
        (Column("eeg", "media", "series", shape=[256, 64], rate=256), {}, ContractError, "64 channels"),
        (Column("audio", "media", "waveform", rate=256), {}, ContractError, "waveform"),
        (Column("eeg", "media", "series", shape=[-1, 1], rate=256), {}, UserError, "varying length"),
        (COLUMN, {"window": 64}, UserError, "has 33 bins, not 40"),
        (COLUMN, {"window": 64, "n_fft": 32}, UserError, "n_fft no less"),
        (COLUMN, {"hop": 0}, UserError, "hop"),
        (COLUMN, {"transform": "superlet", "high_hz": 200.0}, UserError, "do not fit a rate of 256"),
    ],
)
def test_what_it_refuses(column: Column, arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        front(column, **arguments)
