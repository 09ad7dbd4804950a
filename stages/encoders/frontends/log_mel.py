"""Log-mel spectrograms of waveforms."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, Padded
from stages.encoders.core.mel import mel_filters
from stages.encoders.core.wave import contract, level, samples_in_unit_range


@part
class LogMel(Frontend):
    """int16 or float32 (B, T) -> float32 (B, 1, n_mels, frames), log(max(mel power, floor)), natural logarithm.

    mel power = F |STFT(x)|^2 with x in [-1, 1], a periodic Hann window of n_fft samples, frames centred at multiples of `hop`
    (zeros beyond the ends), so frames = 1 + T // hop. F: triangles of height 1 on the HTK mel scale,
    m = 2595 log10(1 + f / 700) (Young et al., The HTK Book, Sec. 5.4), evenly from low_hz to high_hz, without area norm.

    rate: in Hz; default and only choice: the column's. samples: T, the clip's length; default one second.
    normalise: each clip first gets mean 0 and variance 1 over its own samples, so that a recording's level does not matter.
    padded: x comes with each clip's number of frames, for backbones that heed it.
    n_fft: default the power of two that holds 32 ms. hop: default 10 ms. high_hz: default half the rate.

    Raises ContractError for a column that holds no waveform or has another rate; UserError where a mel band is so narrow that
    no frequency of the transform falls into it.
    """

    def __init__(
        self,
        column: Column,
        assets: Path,
        *,
        rate: int | None = None,
        samples: int | None = None,
        n_fft: int | None = None,
        hop: int | None = None,
        n_mels: int = 64,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        floor: float = 1e-5,
        normalise: bool = False,
        padded: bool = False,
    ) -> None:
        self.normalise, self.padded = normalise, padded
        self.contract = contract("log_mel", column, rate, samples)
        rate = int(self.contract["rate"])
        self.n_fft = n_fft or 2 ** math.ceil(math.log2(0.032 * rate))
        self.hop, self.floor = hop or max(1, rate // 100), floor
        self.filters = mel_filters(rate, self.n_fft, n_mels, low_hz, high_hz or rate / 2)
        self.window = torch.hann_window(self.n_fft)
        self.shape: tuple[int, ...] = (1, n_mels, 1 + self.contract["samples"] // self.hop)
        empty = (self.filters.sum(1) == 0).sum().item()
        if empty:
            raise UserError(
                f"{empty} of {n_mels} mel bands hold no frequency of a {self.n_fft}-point transform at {rate} Hz",
                where="front end log_mel",
                do="lower `n_mels` or raise `n_fft`",
            )

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        x = samples_in_unit_range(data)
        if self.normalise:
            x = level(x, lengths)
        window, filters = self.window.to(x.device), self.filters.to(x.device)
        spectrum = torch.stft(
            x, self.n_fft, self.hop, window=window, center=True, pad_mode="constant", return_complex=True
        )  # (B, n_fft // 2 + 1, frames)
        power = spectrum.real.square() + spectrum.imag.square()
        mel = (filters @ power).clamp_min(self.floor).log()[:, None]
        if not self.padded or lengths is None:
            return mel
        return Padded(mel, 1 + lengths // self.hop)
