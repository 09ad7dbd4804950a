"""Views that sound like other recordings: each operation against SciPy, a slow loop or a closed form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.encoders.core.inputs import Padded
from stages.encoders.frontends.image import Image
from stages.encoders.frontends.log_mel import LogMel
from stages.encoders.frontends.waveform import Waveform
from stages.views.core import random, recording
from stages.views.core.base import Key
from stages.views.recording import Recording

RATE, SAMPLES = 8000, 2000
COLUMN = Column("wave", "media", "waveform", rate=RATE)
STILL: dict[str, Any] = {"speed": (1.0, 1.0), "room": 0.0, "band": 0.0, "clip": 0.0, "noise": 0.0, "gain_db": 0.0}


def tone(hertz: float, samples: int = SAMPLES) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(samples) / RATE)


def level_at(x: Tensor, hertz: float) -> float:
    """Amplitude of x's sine of that frequency, by a windowed sum."""
    time = torch.arange(len(x)) / RATE
    window = torch.hann_window(len(x), periodic=False)
    wave = torch.exp(-2j * math.pi * hertz * time)
    return float(2 * (x * window * wave).sum().abs() / window.sum())


def test_speed_moves_a_tone_and_shortens_the_clip() -> None:
    x, rate = torch.stack([tone(500)] * 3), torch.tensor([1.25, 1.0, 0.8])
    y, length = recording.speed(x, torch.tensor([SAMPLES, SAMPLES, 1000]), rate)
    assert length.tolist() == [1600, SAMPLES, 1250]
    torch.testing.assert_close(y[1], x[1], atol=1e-5, rtol=0)
    for row, n, hertz in ((0, 1600, 625.0), (2, 1200, 400.0)):
        inside = slice(50, n - 50)
        expected = torch.sin(2 * math.pi * hertz * torch.arange(SAMPLES) / RATE)
        assert float((y[row, inside] - expected[inside]).abs().max()) < 0.01
    assert not y[0, 1600:].any() and not y[2, 1250:].any()


def test_speed_does_not_fold_what_lies_above_the_new_half_rate() -> None:
    y, _ = recording.speed(tone(3900)[None], torch.tensor([SAMPLES]), torch.tensor([1.25]))  # 4,875 Hz would fold to 3,125
    assert float(y[0, 50:1550].abs().max()) < 0.05


def test_a_room_is_a_convolution_with_a_direct_sound_and_a_decaying_tail() -> None:
    impulse = torch.zeros(1, 8000)
    impulse[0, 0] = 1
    name = random.stream(torch.tensor([7]))
    seconds, direct = torch.tensor([0.25]), torch.tensor([3.0])
    h = recording.room(impulse, torch.tensor([8000]), seconds, direct, RATE, name)[0].double()
    h = h / h[0]
    assert abs(10 * math.log10(1 / float(h[1:].square().sum())) - 3.0) < 1e-3
    energy = h[1:].square().unfold(0, 500, 500).sum(1).log10().mul(10)  # dB, every 62.5 ms: 60 dB in 250 ms are 15 dB a step
    assert np.allclose(np.diff(energy[:6].numpy()), -15, atol=2.0)

    x = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    got = recording.room(x, torch.tensor([8000]), seconds, direct, RATE, name)[0].double()
    expected = torch.from_numpy(signal.fftconvolve(x[0].double().numpy(), h.numpy())[:8000])
    expected *= (x[0].double().square().sum() / expected.square().sum()).sqrt()
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_a_band_passes_what_is_inside_and_stops_what_is_outside() -> None:
    x = (tone(100) + tone(1000) + tone(3500))[None]
    y = recording.band(x, torch.tensor([SAMPLES]), torch.tensor([300.0]), torch.tensor([2000.0]), RATE)[0]
    assert level_at(y, 100) < 0.02 and level_at(y, 3500) < 0.02 and abs(level_at(y, 1000) - 1) < 0.02
    edge = recording.band(tone(300)[None], torch.tensor([SAMPLES]), torch.tensor([300.0]), torch.tensor([2000.0]), RATE)[0]
    assert abs(level_at(edge, 300) - 0.5) < 0.05  # half the amplitude at the edge
    open_band = recording.band(x, torch.tensor([SAMPLES]), torch.tensor([0.0]), torch.tensor([4000.0]), RATE)
    torch.testing.assert_close(open_band, x, atol=1e-5, rtol=0)


def test_clipping_cuts_at_a_share_of_the_peak() -> None:
    x = torch.tensor([[0.5, -1.0, 0.1], [0.2, 0.1, -0.1]])
    torch.testing.assert_close(recording.clip(x, torch.tensor([0.4, 1.0])), torch.tensor([[0.4, -0.4, 0.1], [0.2, 0.1, -0.1]]))


def test_with_every_strength_at_zero_the_views_are_the_front_end() -> None:
    data, lengths, key = batch()
    for front in (Waveform(COLUMN, Path(), samples=SAMPLES), LogMel(COLUMN, Path(), samples=SAMPLES, n_mels=16)):
        for view in Recording(front, **STILL)(data, lengths, key):
            torch.testing.assert_close(values(view), values(front(data, lengths)))


@pytest.mark.parametrize(
    "change", [{"speed": (0.8, 0.9)}, {"room": 1.0}, {"band": 1.0}, {"clip": 1.0}, {"noise": 1.0}, {"gain_db": 3.0}], ids=str
)
def test_each_operation_changes_every_clip_and_nothing_after_its_end(change: dict[str, Any]) -> None:
    data, lengths, key = batch()
    front = Waveform(COLUMN, Path(), samples=SAMPLES)
    view = Recording(front, views=1, **(STILL | change))(data, lengths, key)[0]
    assert isinstance(view, Padded)
    plain = values(front(data, lengths))
    for i, length in enumerate(view.lengths.tolist()):
        assert float((view.x[i] - plain[i]).abs().max()) > 1e-3
        assert not view.x[i, 0, length:].any()


def test_a_clip_sounds_the_same_in_whatever_batch_it_comes_and_its_views_differ() -> None:
    data, lengths, key = batch()
    views, some = Recording(Waveform(COLUMN, Path(), samples=SAMPLES)), torch.tensor([3, 0])
    whole, part = views(data, lengths, key), views(data[some], lengths[some], Key(0, 0, some))
    for a, b in zip(whole, part):
        torch.testing.assert_close(values(a)[some], values(b), atol=1e-5, rtol=1e-4)
        assert torch.isfinite(values(a)).all()
    assert float((values(whole[0]) - values(whole[1])).abs().amax(dim=(1, 2)).min()) > 1e-3


def test_a_silent_clip_stays_finite() -> None:
    data, lengths, key = batch()
    for view in Recording(Waveform(COLUMN, Path(), samples=SAMPLES), room=1.0, band=1.0, clip=1.0, noise=1.0)(
        torch.zeros_like(data), lengths, key
    ):
        assert not values(view).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"views": 0},
        {"speed": (0.0, 1.0)},
        {"speed": (1.2, 1.1)},
        {"room": 1.5},
        {"reverberation_s": (0.0, 0.1)},
        {"high_hz": (4500.0, 5000.0)},
        {"low_hz": (0.0, 3000.0)},
        {"clip_share": (0.5, 1.5)},
        {"gain_db": -1.0},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="recording"):
        Recording(Waveform(COLUMN, Path(), samples=SAMPLES), **wrong)


def test_pictures_are_refused() -> None:
    with pytest.raises(UserError, match="recording takes waveforms"):
        Recording(Image(Column("image", "media", "pixels", shape=[8, 8, 1]), Path()))


def batch() -> tuple[Tensor, Tensor, Key]:
    rng = np.random.default_rng(2)
    lengths = torch.tensor([SAMPLES, 1200, 700, 1999])
    data = torch.zeros(4, SAMPLES, dtype=torch.int16)
    for row, length in zip(data, lengths.tolist()):
        row[:length] = torch.from_numpy(rng.integers(-9000, 9000, length).astype(np.int16))
    return data, lengths, Key(0, 0, torch.arange(4))


def values(x: Tensor | Padded) -> Tensor:
    return x.x if isinstance(x, Padded) else x
