"""Waveforms from magnitudes alone."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.fit.core.voice.spectrum import Spectrum

_TINY = 1e-12


def griffin_lim(magnitude: Tensor, spectrum: Spectrum, *, iterations: int = 60, phase: Tensor | None = None) -> Tensor:
    """magnitude S (B, K, F) -> waveforms (B, (F - 1) hop): x <- istft(S exp(i angle(stft(x)))), `iterations` times.

    Griffin and Lim 1984, "Signal estimation from modified short-time Fourier transform", eq. 7: the squared distance of
    |stft(x)| from S never rises. phase (B, K, F): of the first spectrum, in radians; by default drawn evenly by a
    generator of its own, since phases of 0 would make a pulse at every frame.
    """
    if phase is None:
        generator = torch.Generator(magnitude.device).manual_seed(0)
        phase = 2 * torch.pi * torch.rand(magnitude.shape, generator=generator, device=magnitude.device, dtype=magnitude.dtype)
    wave = spectrum.inverse(torch.polar(magnitude, phase))
    for _ in range(iterations):
        found = spectrum.stft(wave)
        wave = spectrum.inverse(magnitude * found / found.abs().clamp_min(_TINY))
    return wave


def spectral_convergence(magnitude: Tensor, wave: Tensor, spectrum: Spectrum) -> Tensor:
    """(B,): |S - |stft(wave)|| / |S|, Frobenius norms, of magnitude S (B, K, F) and wave (B, (F - 1) hop)."""
    distance = torch.linalg.vector_norm(magnitude - spectrum.stft(wave).abs(), dim=(1, 2))
    return distance / torch.linalg.vector_norm(magnitude, dim=(1, 2)).clamp_min(_TINY)
