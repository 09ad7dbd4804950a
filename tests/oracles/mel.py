"""A slow log-mel reference: frames cut one by one, the transform by SciPy, each triangle drawn by interpolation."""

from __future__ import annotations

import numpy as np
from scipy.fft import rfft
from scipy.signal import get_window


def log_mel(x: np.ndarray, rate: int, n_fft: int, hop: int, n_mels: int, floor: float) -> np.ndarray:
    """x (T,) in [-1, 1] -> (n_mels, 1 + T // hop), float64."""
    padded = np.concatenate([np.zeros(n_fft // 2), x.astype(np.float64), np.zeros(n_fft)])
    window = get_window("hann", n_fft, fftbins=True)
    frequencies = np.arange(n_fft // 2 + 1) * rate / n_fft
    top = 2595 * np.log10(1 + rate / 2 / 700)
    corners = [700 * (10 ** (top * i / (n_mels + 1) / 2595) - 1) for i in range(n_mels + 2)]
    out = np.empty((n_mels, 1 + len(x) // hop))
    for t in range(out.shape[1]):
        power = np.abs(rfft(padded[t * hop : t * hop + n_fft] * window)) ** 2
        for m in range(n_mels):
            triangle = np.interp(frequencies, corners[m : m + 3], [0.0, 1.0, 0.0])
            out[m, t] = np.log(max(power @ triangle, floor))
    return out
