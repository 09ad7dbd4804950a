from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core.mel import mel_filters
from stages.encoders.frontends.log_mel import LogMel
from tests.oracles.mel import log_mel

WAVE = Column("wave", "media", "waveform", rate=8000)


def front(**arguments: object) -> LogMel:
    made: LogMel = registry.make("frontend", Part("log_mel", dict(arguments)), WAVE, Path())
    return made


def test_it_agrees_with_a_slow_reference_on_noise() -> None:
    mel = front(samples=2000, n_fft=256, hop=80, n_mels=20)
    x = np.random.default_rng(0).normal(0, 0.1, (2, 2000)).astype(np.float32)
    got = mel(torch.from_numpy(x)).numpy()
    assert got.shape == (2, *mel.shape) == (2, 1, 20, 26)
    for item, clip in zip(got, x, strict=True):
        np.testing.assert_allclose(item[0], log_mel(clip, 8000, 256, 80, 20, 1e-5), atol=1e-3)


@pytest.mark.mirror
def test_it_agrees_with_a_slow_reference_on_a_real_clip(mirror: Path) -> None:
    rate, clip = wavfile.read(mirror / "fsdd" / "recordings" / "7_jackson_3.wav")
    mel = front()
    padded = np.zeros(8000, np.int16)
    padded[: len(clip)] = clip[:8000]
    got = mel(torch.from_numpy(padded)[None])[0, 0].numpy()
    assert (rate, mel.n_fft, mel.hop) == (8000, 256, 80)
    np.testing.assert_allclose(got, log_mel(padded / 32768, 8000, 256, 80, 64, 1e-5), atol=1e-3)
    assert got.max() - got.min() > 5


def test_a_tone_is_loudest_in_the_band_around_it() -> None:
    mel = front(n_mels=30, n_fft=512)
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)).astype(np.int16)
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 32)[1:-1] / 2595) - 1)
    loudest = mel(torch.from_numpy(tone)[None])[0, 0, :, 10:-10].argmax(0)
    assert set(loudest.tolist()) == {int(np.abs(centres - 1000).argmin())}


def test_the_power_of_a_tone_has_its_closed_form() -> None:
    """A tone of amplitude a on bin k has |X_k| = a n / 4 and half of that at k - 1 and k + 1 under a Hann window."""
    n, k, a = 512, 64, 0.5
    mel = front(n_fft=n, hop=n, n_mels=20)
    tone = a * np.sin(2 * np.pi * k / n * np.arange(8000)).astype(np.float32)
    power = (a * n / 4) ** 2
    weights = mel_filters(8000, n, 20, 0, 4000)
    expected = torch.log(power * (weights[:, k] + weights[:, k - 1] / 4 + weights[:, k + 1] / 4)).amax()
    assert float(mel(torch.from_numpy(tone)[None])[0, 0, :, 5].amax()) == pytest.approx(float(expected), abs=1e-3)


def test_silence_is_the_floor() -> None:
    assert torch.equal(front(floor=1e-3)(torch.zeros(1, 8000)), torch.full((1, 1, 64, 101), 1e-3).log())


def test_integers_and_floating_point_samples_agree() -> None:
    clip = torch.randint(-3000, 3000, (2, 8000), dtype=torch.int16)
    assert torch.equal(front()(clip), front()(clip.float() / 32768))


def test_neighbouring_triangles_add_up_to_one() -> None:
    weights = mel_filters(16000, 1024, 40, 0, 8000)
    first, last = 40, 400  # between the centres of the first and the last band
    torch.testing.assert_close(weights.sum(0)[first:last], torch.ones(last - first))


def test_bands_without_a_frequency_are_a_mistake() -> None:
    with pytest.raises(UserError, match=r"mel bands hold no frequency"):
        front(n_fft=64, n_mels=64)
