"""Waveforms from magnitudes, against a loop over frames, and the transforms beneath."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common.errors import UserError
from stages.fit.core.voice.griffin_lim import griffin_lim, spectral_convergence
from stages.fit.core.voice.spectrum import FLOOR, Spectrum
from tests.oracles import voice as slow
from tests.oracles.mel import log_mel

N_FFT, HOP = 64, 16
SPECTRUM = Spectrum(8000, N_FFT, HOP, 8)


def sound(samples: int = 480, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / 8000
    chirp = np.sin(2 * np.pi * (300 + 2000 * t) * t)
    return torch.from_numpy(np.stack([chirp + 0.05 * rng.normal(size=samples), rng.normal(size=samples)]))


def test_it_is_the_loop_over_frames() -> None:
    magnitude = SPECTRUM.stft(sound()).abs()
    phase = torch.from_numpy(np.random.default_rng(1).uniform(0, 2 * np.pi, magnitude.shape))
    for rounds in (0, 1, 5):
        got = griffin_lim(magnitude, SPECTRUM, iterations=rounds, phase=phase)
        for b in range(2):
            expected = slow.griffin_lim(magnitude[b].numpy(), phase[b].numpy(), N_FFT, HOP, rounds)[-1]
            np.testing.assert_allclose(got[b].numpy(), expected, atol=1e-8)


def test_its_convergence_never_rises_and_agrees_with_the_loop() -> None:
    magnitude = SPECTRUM.stft(sound()).abs() * torch.rand(2, N_FFT // 2 + 1, 31, generator=torch.Generator().manual_seed(2))
    phase = torch.from_numpy(np.random.default_rng(1).uniform(0, 2 * np.pi, magnitude.shape))
    rounds = [griffin_lim(magnitude, SPECTRUM, iterations=i, phase=phase) for i in range(12)]
    found = torch.stack([spectral_convergence(magnitude, wave, SPECTRUM) for wave in rounds])
    assert (found.diff(dim=0) <= 1e-12).all()
    assert (found[-1] < 0.9 * found[0]).all()
    expected = slow.griffin_lim(magnitude[0].numpy(), phase[0].numpy(), N_FFT, HOP, 11)
    np.testing.assert_allclose(
        found[:, 0].numpy(), [slow.convergence(magnitude[0].numpy(), w, N_FFT, HOP) for w in expected], atol=1e-8
    )


def test_a_spectrum_that_a_waveform_has_is_left_as_it_is() -> None:
    wave = sound()
    spectrum = SPECTRUM.stft(wave)
    torch.testing.assert_close(SPECTRUM.inverse(spectrum), wave)
    again = griffin_lim(spectrum.abs(), SPECTRUM, iterations=3, phase=spectrum.angle())
    torch.testing.assert_close(again, wave)
    assert spectral_convergence(spectrum.abs(), again, SPECTRUM).max() < 1e-12


def test_silence_stays_silent_and_a_second_run_gives_the_same() -> None:
    assert griffin_lim(torch.zeros(1, 33, 5), SPECTRUM).abs().max() == 0
    magnitude = SPECTRUM.stft(sound().float()).abs()
    assert torch.equal(griffin_lim(magnitude, SPECTRUM, iterations=2), griffin_lim(magnitude, SPECTRUM, iterations=2))


def test_log_mel_bands_are_those_of_the_slow_reference() -> None:
    spectrum = Spectrum.of(8000)
    assert (spectrum.n_fft, spectrum.hop, spectrum.frames(1000)) == (256, 80, 13)
    x = np.random.default_rng(0).normal(0, 0.1, (2, 1000)).astype(np.float32)
    for got, clip in zip(spectrum.log_mel(torch.from_numpy(x)).numpy(), x, strict=True):
        np.testing.assert_allclose(got, log_mel(clip, 8000, 256, 80, 40, FLOOR), atol=1e-3)


def test_magnitudes_that_are_even_within_bands_come_back_from_them() -> None:
    spectrum = Spectrum.of(8000)
    weights = torch.rand(1, 40, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    power = torch.linalg.pinv(spectrum.filters) @ weights
    bands = (spectrum.filters @ power).log()
    torch.testing.assert_close(bands.exp(), weights, atol=1e-4, rtol=1e-3)
    found = spectrum.magnitudes(bands)
    torch.testing.assert_close(found.square(), power.clamp_min(0), atol=1e-4, rtol=1e-3)


def test_bands_that_hold_no_frequency_are_refused() -> None:
    with pytest.raises(UserError, match="200 mel bands do not fit"):
        Spectrum.of(8000, 200)
