"""Spectrograms of one channel of a series: a short-time Fourier transform, or superlets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend

_FEW = 1e-6  # of an item's overall deviation: a frequency that moves less is constant
_FAST = 64  # a transform's length is a multiple of it
_SPREAD = 5.0  # a wavelet's cycles lie within so many standard deviations (Moca et al. 2021, after eq. 3)


@part
class Spectrogram(Frontend):
    """float32 (B, T, 1) -> float32 (B, 1, bins, frames): magnitudes over frequency and time, frames = 1 + T // hop.

    Wang et al. 2023, "BrainBERT", sec. 3, whose numbers at 2048 Hz are the defaults: bins of 5.12 Hz up to 200 Hz, frames of
    195 ms every 24 ms. Frames are centred at multiples of `hop` samples, with zeros beyond the ends.

    transform `stft`: |sum_s w_s x_s exp(-2 pi i k s / n_fft)|, w a periodic Hann window of `window` samples, k = 0 .. bins - 1,
    that is k rate / n_fft Hz (n_fft: default `window`). `superlet`: `superlets` at `bins` frequencies from low_hz to high_hz
    (default: half the column's rate, 200 Hz at most), wavelets of cycles, 2 cycles ... order cycles.

    zscore: each frequency of each item gets mean 0 and variance 1 over its frames; one that does not move becomes 0.
    steps: T; default the column's length. Raises ContractError for a column that is no series of one channel; UserError for a
    series of varying length without `steps`, for more bins than the transform has, or for frequencies beyond half the rate.
    """

    def __init__(
        self,
        column: Column,
        assets: Path,
        *,
        transform: Literal["stft", "superlet"] = "stft",
        window: int = 400,
        hop: int = 50,
        n_fft: int | None = None,
        bins: int = 40,
        low_hz: float = 5.0,
        high_hz: float | None = None,
        cycles: float = 3.0,
        order: int = 5,
        zscore: bool = True,
        steps: int | None = None,
    ) -> None:
        shape = column.shape or [-1, 1]
        if column.kind != "series" or shape[-1] != 1:
            raise ContractError(
                f"column {column.name!r} holds {column.kind} of {shape[-1]} channels, `spectrogram` takes series of one",
                do="choose another `media:` column, or a reader that gives one channel an item",
            )
        length = steps or shape[0]
        if length < 1:
            raise UserError(f"column {column.name!r} has series of varying length", do="set `steps` of the front end")
        self.n_fft = n_fft or window
        if hop < 1 or not 2 <= window <= self.n_fft or bins < 1 or order < 1 or cycles <= 0:
            raise UserError(
                "hop, bins and order are 1 or more, window 2 or more and n_fft no less, cycles above 0",
                where="front end spectrogram",
            )
        self.transform, self.hop, self.bins, self.zscore = transform, hop, bins, zscore
        if transform == "stft":
            if bins > self.n_fft // 2 + 1:
                raise UserError(
                    f"a {self.n_fft}-point transform has {self.n_fft // 2 + 1} bins, not {bins}",
                    where="front end spectrogram",
                    do="lower `bins` or raise `n_fft`",
                )
            self.window = torch.hann_window(window)
        else:
            rate = float(column.rate or 0)
            high = high_hz or min(200.0, rate / 2)
            if not 0 < low_hz < high <= rate / 2:
                raise UserError(
                    f"superlets from {low_hz:g} to {high:g} Hz do not fit a rate of {rate:g} Hz", where="front end spectrogram"
                )
            self.hz = torch.linspace(low_hz, high, bins, dtype=torch.float64)
            self.rate, self.cycles = rate, [cycles * (i + 1) for i in range(order)]
        self.contract: dict[str, Any] = {"kind": "series", "steps": length, "channels": 1}
        self.shape: tuple[int, ...] = (1, bins, 1 + length // hop)

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = data.float()[..., 0]
        if self.transform == "stft":
            spectrum = torch.stft(
                x,
                self.n_fft,
                self.hop,
                win_length=len(self.window),
                window=self.window.to(x.device),
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
            magnitude = spectrum[:, : self.bins].abs()
        else:
            beyond = torch.nn.functional.pad(x, (0, 1))  # a frame may be centred at T
            magnitude = superlets(beyond, self.hz.to(x.device), self.rate, self.cycles)[..., :: self.hop]
        return (scored(magnitude) if self.zscore else magnitude).unsqueeze(1)


def scored(magnitude: Tensor) -> Tensor:
    """(B, F, T) -> (m - mean) / std over T, frequency by frequency; 0 where a frequency does not move."""
    centred = magnitude - magnitude.mean(-1, keepdim=True)
    std = centred.square().mean(-1, keepdim=True).sqrt()
    floor = _FEW * magnitude.square().mean((1, 2), keepdim=True).sqrt()
    return torch.where(std > floor, centred / std.clamp_min(torch.finfo(std.dtype).tiny), 0.0)


def superlets(x: Tensor, hz: Tensor, rate: float, cycles: list[float]) -> Tensor:
    """x (B, T) -> (B, F, T): the geometric mean over `cycles` of sqrt(2) |x * psi|, zeros beyond the ends.

    psi(t) = exp(-t^2 / (2 s^2)) exp(2 pi i f t) / (s sqrt(2 pi)), s = c / (5 f) seconds for c cycles at f Hz, cut at 4 s and
    summed over samples of 1 / rate seconds. So a sine of amplitude a at f gives a / sqrt(2). Moca et al. 2021,
    "Time-frequency super-resolution with superlets", eq. 1-5.
    """
    length = x.shape[1]
    total = x.new_zeros(len(x), len(hz), length)
    for c in cycles:
        spread = c / (_SPREAD * hz)  # seconds, (F,)
        reach = min(math.ceil(4 * float(spread.max()) * rate), length - 1)  # farther samples are none of x's
        time = torch.arange(-reach, reach + 1, device=x.device, dtype=torch.float64) / rate
        shape = (-0.5 * (time / spread[:, None]).square()).exp() * (time.abs() <= 4 * spread[:, None])
        wavelet = torch.polar(shape / (spread[:, None] * math.sqrt(2 * math.pi) * rate), 2 * math.pi * hz[:, None] * time)
        n = _FAST * math.ceil((length + reach) / _FAST)  # what goes round falls before `reach`, which is cut off
        kernel = torch.fft.fft(wavelet, n).to(torch.complex64)
        found = torch.fft.ifft(torch.fft.fft(x, n)[:, None] * kernel)[..., reach : reach + length]
        total += (math.sqrt(2) * found.abs()).clamp_min(torch.finfo(x.dtype).tiny).log()
    return (total / len(cycles)).exp()
