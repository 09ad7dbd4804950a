"""What a recording does to sound, on batches of waveforms x (B, T) with lengths (B,): one strength per item; zeros follow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stages.views.core import random

_TAPS = 16  # samples on either side of a point between two samples that its value is made of


def within(x: Tensor, length: Tensor) -> Tensor:
    """x with zeros after the first `length` samples of each item."""
    return x.masked_fill(torch.arange(x.shape[1], device=x.device) >= length.unsqueeze(1), 0)


def speed(x: Tensor, length: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    """Played `rate` (B,) times as fast, pitch and tempo together (Ko et al. 2015, "Audio augmentation for speech recognition").

    y[t] = sum_k x[k] c sinc(c (rate t - k)) hann(rate t - k), where c = min(1, 1 / rate) keeps what is above the new Nyquist
    frequency from folding down. Returns y (B, T), cut where it would be longer, and lengths floor(length / rate), at least 1.
    """
    size = x.shape[1]
    position = rate.unsqueeze(1) * torch.arange(size, device=x.device)  # (B, T) in samples of x
    first = position.floor().long()
    cutoff = (1 / rate).clamp_max(1).unsqueeze(1)
    y = torch.zeros_like(x)
    for tap in range(1 - _TAPS, _TAPS + 1):  # a loop over taps, so that memory stays (B, T)
        k = first + tap
        away = position - k
        weight = cutoff * torch.sinc(cutoff * away) * (0.5 + 0.5 * torch.cos(math.pi * away / _TAPS))
        inside = (k >= 0) & (k < size) & (away.abs() < _TAPS)
        y += x.gather(1, k.clamp(0, size - 1)) * weight * inside
    shorter = (length / rate).floor().long().clamp(1, size)
    return within(y, shorter), shorter


def room(x: Tensor, length: Tensor, reverberation_s: Tensor, direct_db: Tensor, rate: int, names: Tensor) -> Tensor:
    """In a room: x convolved with a direct sound and a tail of noise that decays by 60 dB in `reverberation_s` seconds (B,).

    h[0] = 1, h[t] = g n[t] exp(-3 ln(10) t / (reverberation_s rate)) for 0 < t < T, n standard normal; g makes the tail's
    energy that of the direct sound less `direct_db` decibels (B,). The item's power stays, its length too. names (B,): the
    streams of the tails. The model is Polack's (Habets 2007, "Single- and multi-microphone speech dereverberation", sec. 2.3).
    """
    size = x.shape[1]
    time = torch.arange(size, device=x.device) / rate
    tail = random.normal(names, size) * torch.exp(-3 * math.log(10) * time / reverberation_s.unsqueeze(1))
    tail[:, 0] = 0
    tail = tail * (10 ** (-direct_db / 10) / tail.square().sum(1).clamp_min(1e-12)).sqrt().unsqueeze(1)
    tail[:, 0] = 1
    spectrum = torch.fft.rfft(x, 2 * size) * torch.fft.rfft(tail, 2 * size)
    return _of_power(within(torch.fft.irfft(spectrum, 2 * size)[:, :size], length), x)


def band(x: Tensor, length: Tensor, low_hz: Tensor, high_hz: Tensor, rate: int) -> Tensor:
    """Only what lies between two frequencies (B,), with edges of a sixth of an octave about each.

    A telephone passes 300 to 3,400 Hz. low_hz 0 and high_hz at or above rate / 2 leave that side alone.
    """
    size = x.shape[1]
    octave = torch.log2(torch.fft.rfftfreq(2 * size, 1 / rate).to(x.device).clamp_min(1e-6))
    rising = _edge(octave - torch.log2(low_hz.clamp_min(1e-6)).unsqueeze(1))
    falling = _edge(torch.log2(high_hz).unsqueeze(1) - octave)
    falling = torch.where((high_hz >= rate / 2).unsqueeze(1), 1.0, falling)
    rising = torch.where((low_hz <= 0).unsqueeze(1), 1.0, rising)
    passed = torch.fft.irfft(torch.fft.rfft(x, 2 * size) * rising * falling, 2 * size)[:, :size]
    return within(passed, length)


def clip(x: Tensor, share: Tensor) -> Tensor:
    """Overdriven: each item is cut off at `share` (B,) of its largest magnitude."""
    most = (x.abs().amax(1) * share).unsqueeze(1)
    return x.clamp(-most, most)


def _edge(octaves: Tensor) -> Tensor:
    """0 below, 1 above, half a cosine over a sixth of an octave about 0."""
    return 0.5 - 0.5 * torch.cos(math.pi * (6 * octaves + 0.5).clamp(0, 1))


def _of_power(y: Tensor, x: Tensor) -> Tensor:
    power = y.square().sum(1, keepdim=True)
    return y * (x.square().sum(1, keepdim=True) / power.clamp_min(1e-12)).sqrt()
