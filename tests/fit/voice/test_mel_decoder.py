"""The linear vocoder: which frames stand for which, its closed form, and what it hands to Griffin and Lim."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from stages.fit.core.voice.mel_decoder import MelDecoder, in_context, stride, targets
from stages.fit.core.voice.spectrum import FLOOR, Spectrum
from tests.fit.voice.making import spoken

SPECTRUM = Spectrum.of(8000, 16)


def test_a_frame_of_the_encoder_stands_for_frames_of_the_spectrum_in_turn() -> None:
    counts, samples = torch.tensor([3, 2]), torch.tensor([400, 200])  # 6 and 3 frames of 80 samples
    assert stride(samples, counts, SPECTRUM) == 2
    log_mel = torch.arange(12.0).view(2, 1, 6) * torch.tensor([1.0, 10.0]).view(1, 2, 1)
    found = targets(log_mel, samples, counts, 2, 80)
    expected = [[0, 0, 1, 10], [2, 20, 3, 30], [4, 40, 5, 50], [6, 60, 7, 70], [8, 80, 8, 80]]  # the last repeats frame 2
    assert found.tolist() == expected


def test_context_does_not_reach_into_the_next_recording() -> None:
    x = torch.arange(5.0).unsqueeze(1)
    assert in_context(x, torch.tensor([3, 2]), 1).tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 4], [3, 4, 4]]
    assert torch.equal(in_context(x, torch.tensor([3, 2]), 0), x)


def test_it_is_the_ridge_regression_of_scikit_learn_on_standardised_frames() -> None:
    counts = [12, 9, 15]
    x = torch.randn(sum(counts), 4, generator=torch.Generator().manual_seed(1))
    given = spoken(counts, x)
    made = MelDecoder.of(x, given, SPECTRUM, reach=1, l2=0.1, iterations=0)
    y = targets(SPECTRUM.log_mel(given.wave), given.samples, given.counts, made.step, 80).double().numpy()
    wide = in_context(x, given.counts, 1).double().numpy()
    standard = (wide - wide.mean(0)) / wide.std(0)
    peer = Ridge(alpha=0.1 * len(x)).fit(standard, y)
    expected = peer.predict(standard).reshape(-1, 16)
    found = made.log_mel(x, given.counts).transpose(1, 2)
    own = torch.arange(found.shape[1]) < (made.step * given.counts).unsqueeze(1)
    np.testing.assert_allclose(found[own].numpy(), expected, atol=1e-4)
    assert (found[~own] == torch.tensor(FLOOR).log()).all()


def test_what_is_linear_in_the_frames_is_spoken_again() -> None:
    given = spoken([20, 14], torch.zeros(34, 1))
    bands = targets(SPECTRUM.log_mel(given.wave), given.samples, given.counts, 2, 80)
    made = MelDecoder.of(bands, given, SPECTRUM, reach=0, l2=1e-9, iterations=4)
    torch.testing.assert_close(made.log_mel(bands, given.counts)[0].T, bands[:20].view(40, 16), atol=1e-2, rtol=1e-2)
    wave = made(bands, given.counts)
    assert wave.shape == (2, 39 * 80)
    assert wave[1, (28 * 80 + 128) :].abs().max() == pytest.approx(0, abs=1e-6)  # beyond the shorter one's last window
