"""The views of waveforms and their spectrograms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.encoders.frontends.log_mel import LogMel
from stages.encoders.frontends.waveform import Waveform
from stages.views.core import waves as wave_operations
from stages.views.core.base import Key
from stages.views.wave_spec import WaveSpec

RATE, SAMPLES = 8000, 2000
COLUMN = Column("wave", "media", "waveform", rate=RATE)
STILL = {"crop": (1.0, 1.0), "gain_db": 0.0, "noise": 0.0, "time_masks": 0, "frequency_masks": 0}


def frontend() -> LogMel:
    return LogMel(COLUMN, Path(), samples=SAMPLES, n_mels=16)


def waves(n: int = 6) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(2)
    data, lengths = torch.zeros(n, SAMPLES, dtype=torch.int16), torch.tensor([SAMPLES, 1200, 700, 1999, 50, 1])[:n]
    for row, length in zip(data, lengths.tolist()):
        row[:length] = torch.from_numpy(rng.integers(-9000, 9000, length).astype(np.int16))
    return data, lengths


def key(n: int = 6) -> Key:
    return Key(0, 0, torch.arange(n))


def test_with_every_strength_at_zero_the_views_are_the_front_end() -> None:
    data, lengths = waves()
    front = frontend()
    for view in WaveSpec(front, **STILL)(data, lengths, key()):
        torch.testing.assert_close(view, front(data, lengths))


def test_a_clip_looks_the_same_in_whatever_batch_it_comes() -> None:
    data, lengths = waves()
    views, some = WaveSpec(frontend()), torch.tensor([3, 0])
    whole, part = views(data, lengths, key()), views(data[some], lengths[some], Key(0, 0, some))
    for a, b in zip(whole, part):
        torch.testing.assert_close(a[some], b, atol=1e-5, rtol=1e-5)
        assert a.shape == (6, *views.frontend.shape) and torch.isfinite(a).all()


def test_the_two_views_of_a_clip_differ() -> None:
    data, lengths = waves(4)
    first, second = WaveSpec(frontend())(data, lengths, key(4))
    assert ((first - second).abs().amax(dim=(1, 2, 3)) > 0.1).all()


def test_the_crop_matches_a_loop_over_samples() -> None:
    x = torch.arange(1.0, 31).view(3, 10)
    start, length = torch.tensor([0, 4, 9]), torch.tensor([10, 3, 1])
    expected = torch.zeros(3, 10)
    for i in range(3):
        for t in range(int(length[i])):
            expected[i, t] = x[i, int(start[i]) + t]
    assert torch.equal(wave_operations.crop(x, start, length), expected)


def test_six_decibels_double_the_amplitude() -> None:
    x = torch.ones(2, 3)
    torch.testing.assert_close(
        wave_operations.gain(x, torch.tensor([20 * math.log10(2), -20.0]))[:, 0], torch.tensor([2.0, 0.1])
    )


def test_noise_has_the_signal_to_noise_ratio_asked_for_and_stays_inside_the_clip() -> None:
    torch.manual_seed(0)
    x, noise = torch.randn(2, 20_000) * 0.3, torch.randn(2, 20_000)
    length = torch.tensor([20_000, 10_000])
    x[1, 10_000:] = 0
    added = wave_operations.noisy(x, noise, length, torch.tensor([10.0, 0.0])) - x
    for i, expected in enumerate((10.0, 0.0)):
        n = int(length[i])
        ratio = 10 * math.log10(float(x[i, :n].square().mean() / added[i, :n].square().mean()))
        assert abs(ratio - expected) < 0.2
    assert not added[1, 10_000:].any()


def test_the_recording_of_noise_is_white_and_of_unit_power() -> None:
    noise = wave_operations.white_noise(100).double()
    assert abs(float(noise.var()) - 1) < 0.02
    for lag in (1, 2, 50):
        assert abs(float((noise[lag:] * noise[:-lag]).mean())) < 0.02


@pytest.mark.parametrize("dim", [2, 3])
def test_a_mask_matches_a_loop_over_positions(dim: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 1, 8, 10)
    start, width = torch.tensor([0.0, 0.25, 0.9]), torch.tensor([0.0, 0.5, 0.1])
    expected = x.clone()
    for i in range(3):
        for position in range(x.shape[dim]):
            centre = (position + 0.5) / x.shape[dim]
            if start[i] <= centre < start[i] + width[i]:
                expected[i].select(dim - 1, position).fill_(x[i].mean())
    torch.testing.assert_close(wave_operations.mask(x, dim, start, width), expected)


def test_masks_alone_hide_whole_bands_of_frames_and_channels() -> None:
    data, lengths = waves(4)
    front = frontend()
    masked = WaveSpec(front, views=1, **(STILL | {"time_masks": 1, "time_share": 0.5}))(data, lengths, key(4))[0]
    changed = (masked != front(data, lengths)).all(dim=2)[:, 0]  # (B, frames): every channel of a hidden frame
    assert ((masked != front(data, lengths)).any(dim=2)[:, 0] == changed).all()
    assert changed.float().mean(1).max() <= 0.5 + 1 / changed.shape[1] and changed.any()


def test_a_front_end_without_a_spectrogram_is_refused() -> None:
    with pytest.raises(UserError, match="spectrograms"):
        WaveSpec(Waveform(COLUMN, Path(), samples=SAMPLES))


@pytest.mark.parametrize("wrong", [{"crop": (0.0, 1.0)}, {"noise": 2.0}, {"time_masks": -1}, {"snr_db": (9.0, 1.0)}])
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError):
        WaveSpec(frontend(), **wrong)  # type: ignore[arg-type]
