"""Short-time spectra of waveforms, their log-mel bands, and the way back to magnitudes."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.encoders.core.mel import mel_filters

FLOOR = 1e-5  # of a band's power: -50 dB beside the level that recordings are brought to
LEVEL = 0.1  # root mean square of a recording


@dataclass(frozen=True)
class Spectrum:
    """Transforms of waveforms at `rate` Hz: periodic Hann windows of `n_fft` samples, frames centred at multiples of `hop`.

    F = 1 + T // hop frames of K = n_fft // 2 + 1 frequencies; zeros lie beyond a waveform's ends. bands: triangles of height 1,
    evenly on the mel scale m = 2595 log10(1 + f / 700) from 0 to rate / 2 (Young et al., The HTK Book, sec. 5.4).
    Raises UserError where a band holds no frequency.
    """

    rate: int
    n_fft: int
    hop: int
    bands: int

    @staticmethod
    def of(rate: int, bands: int = 40) -> Spectrum:
        """Windows of the power of two that holds 32 ms, a frame every 10 ms."""
        return Spectrum(rate, 2 ** math.ceil(math.log2(0.032 * rate)), rate // 100, bands)

    def __post_init__(self) -> None:
        if self.bands < 1 or (self.filters.sum(1) == 0).any():
            raise UserError(
                f"{self.bands} mel bands do not fit {self.n_fft} samples at {self.rate} Hz",
                where="bands",
                do="take fewer bands",
            )

    @functools.cached_property
    def filters(self) -> Tensor:
        """(bands, K) float32."""
        return mel_filters(self.rate, self.n_fft, self.bands, 0.0, self.rate / 2)

    def frames(self, samples: int) -> int:
        return 1 + samples // self.hop

    def stft(self, wave: Tensor) -> Tensor:
        """wave (B, T) -> complex (B, K, F)."""
        window = torch.hann_window(self.n_fft, dtype=wave.dtype, device=wave.device)
        return torch.stft(wave, self.n_fft, self.hop, window=window, center=True, pad_mode="constant", return_complex=True)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """complex (B, K, F) -> (B, (F - 1) hop): the waveform of the nearest transform (Griffin and Lim 1984, eq. 6)."""
        window = torch.hann_window(self.n_fft, dtype=spectrum.real.dtype, device=spectrum.device)
        samples = (spectrum.shape[-1] - 1) * self.hop
        return torch.istft(spectrum, self.n_fft, self.hop, window=window, center=True, length=samples)

    def log_mel(self, wave: Tensor) -> Tensor:
        """wave (B, T) -> (B, bands, F): log(max(bands of |STFT|^2, floor)), natural logarithm; differentiable."""
        spectrum = self.stft(wave)
        power = spectrum.real.square() + spectrum.imag.square()
        return (self.filters.to(power) @ power).clamp_min(FLOOR).log()

    def magnitudes(self, log_mel: Tensor) -> Tensor:
        """(B, bands, F) -> (B, K, F): the root of pinv(bands) exp(log_mel), negative power taken for none."""
        power = torch.linalg.pinv(self.filters.double()).to(log_mel) @ log_mel.exp()
        return power.clamp_min(0).sqrt()
