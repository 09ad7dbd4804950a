"""Bands of the mel scale, for spectrograms and the way back from them."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mel_filters(rate: int, n_fft: int, n_mels: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular filters (n_mels, n_fft // 2 + 1), float32, peaks of 1, evenly spaced on the HTK mel scale."""
    low, high = (2595 * math.log10(1 + f / 700) for f in (low_hz, high_hz))
    mels = torch.linspace(low, high, n_mels + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)  # Hz
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * rate / n_fft
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0).float()
