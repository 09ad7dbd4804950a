"""Operations on batches of waveforms x (B, T) with lengths (B,), and of spectrograms x (B, C, F, T), one strength per item."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.views.core import random

NOISE_STARTS = 1 << 16
_NOISE = 0x6E6F697365  # names the recording of white noise, the same for every run


def between(u: Tensor, low: float, high: float) -> Tensor:
    """Uniform numbers of [0, 1) as uniform numbers of [low, high)."""
    return low + (high - low) * u


def crop(x: Tensor, start: Tensor, length: Tensor) -> Tensor:
    """Samples start .. start + length - 1 of each waveform, moved to the front, zeros after; start, length (B,) int64."""
    time = torch.arange(x.shape[1], device=x.device)
    kept = x.gather(1, (start.unsqueeze(1) + time).clamp_max_(x.shape[1] - 1))
    return kept.masked_fill_(time >= length.unsqueeze(1), 0)


def gain(x: Tensor, decibels: Tensor) -> Tensor:
    """x * 10^(dB / 20); decibels (B,)."""
    return x * (10 ** (decibels / 20)).unsqueeze(1)


def white_noise(samples: int, device: torch.device | str = "cpu") -> Tensor:
    """A fixed recording of white noise from which stretches of `samples` are cut, (NOISE_STARTS + samples,)."""
    return random.normal(random.stream(_NOISE), NOISE_STARTS + samples).to(device)


def noisy(x: Tensor, noise: Tensor, length: Tensor, snr: Tensor) -> Tensor:
    """Adds noise (B, T) of unit power to the first `length` samples at `snr` decibels (B,) below the waveform's power."""
    inside = torch.arange(x.shape[1], device=x.device) < length.unsqueeze(1)
    power = x.square().sum(1) / length.clamp_min(1)  # zeros follow the waveform
    level = (power * 10 ** (-snr / 10)).sqrt().unsqueeze(1)
    return x + level * noise * inside


def mask(x: Tensor, dim: int, start: Tensor, width: Tensor) -> Tensor:
    """Puts each item's mean in place of a band: positions start .. start + width (B,), as shares of `dim`."""
    size = x.shape[dim]
    shape = [1] * x.dim()
    shape[dim] = size
    centre = ((torch.arange(size, device=x.device) + 0.5) / size).view(shape)
    begin, end = _each(start, x.dim()), _each(start + width, x.dim())
    mean = x.mean(dim=tuple(range(1, x.dim())), keepdim=True)
    return torch.where((centre >= begin) & (centre < end), mean, x)


def _each(value: Tensor, dims: int) -> Tensor:
    return value.view(-1, *(1,) * (dims - 1))
