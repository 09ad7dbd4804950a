"""A linear vocoder: frames to log-mel bands by ridge regression, bands to a waveform by Griffin and Lim's iterations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.fit.core.linear import Axes
from stages.fit.core.voice.griffin_lim import griffin_lim
from stages.fit.core.voice.spectrum import FLOOR, Spectrum
from stages.fit.core.voice.utterances import Utterances

_SILENCE = math.log(FLOOR)


def stride(samples: Tensor, counts: Tensor, spectrum: Spectrum) -> int:
    """Frames of the spectrum that one of the encoder stands for: over all recordings of `samples` (I,) and counts (I,)."""
    return max(1, round(float((1 + samples // spectrum.hop).sum() / counts.sum())))


def targets(log_mel: Tensor, samples: Tensor, counts: Tensor, step: int, hop: int) -> Tensor:
    """log_mel (I, bands, F) -> (N, step * bands): for encoder frame t of an item its frames step t .. step t + step - 1.

    Frames beyond an item's last, 1 + samples // hop of them, repeat that one.
    """
    item = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    t = torch.arange(int(counts.sum()), device=counts.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    frame = step * t.unsqueeze(1) + torch.arange(step, device=counts.device)
    frame = torch.minimum(frame, (samples // hop)[item].unsqueeze(1))
    return log_mel.transpose(1, 2)[item.unsqueeze(1), frame].flatten(1)


def in_context(x: Tensor, counts: Tensor, reach: int) -> Tensor:
    """x (N, D) -> (N, (2 reach + 1) D): each frame with `reach` on each side; beyond an item's ends its end frames repeat."""
    start = (counts.cumsum(0) - counts).repeat_interleave(counts)
    last = start + counts.repeat_interleave(counts) - 1
    at = torch.arange(len(x), device=x.device)
    return torch.cat([x[torch.minimum(torch.maximum(at + o, start), last)] for o in range(-reach, reach + 1)], 1)


@dataclass(frozen=True)
class MelDecoder:
    """W ((2 reach + 1) D, step * bands) and offset, for frames in context, standardised and turned as `axes` has it.

    W minimises mean |y - W' z|^2 + l2 |W|^2, y the log-mel bands less their mean.
    """

    spectrum: Spectrum
    axes: Axes
    weights: Tensor
    offset: Tensor
    step: int
    reach: int
    iterations: int

    @staticmethod
    def of(
        given: Tensor, spoken: Utterances, spectrum: Spectrum, *, reach: int = 1, l2: float = 1e-3, iterations: int = 60
    ) -> MelDecoder:
        """Fitted to give the recordings' own bands from the frames `given` (N, D), theirs or such as stand for them."""
        step = stride(spoken.samples, spoken.counts, spectrum)
        y = targets(spectrum.log_mel(spoken.wave), spoken.samples, spoken.counts, step, spectrum.hop).double()
        x = in_context(given, spoken.counts, reach)
        axes, offset = Axes.of(x), y.mean(0)
        moment = axes.project(x).T @ (y - offset) / len(x)
        return MelDecoder(spectrum, axes, moment / (axes.moments + l2).unsqueeze(1), offset, step, reach, iterations)

    def log_mel(self, x: Tensor, counts: Tensor) -> Tensor:
        """x (N, D), counts (I,) -> (I, bands, F), F of the longest; the floor beyond an item's own."""
        y = (self.axes.project(in_context(x, counts, self.reach)) @ self.weights + self.offset).float()
        frames = y.view(-1, self.spectrum.bands)  # (N step, bands)
        out = frames.new_full((len(counts), int(counts.max()) * self.step, self.spectrum.bands), _SILENCE)
        own = torch.arange(out.shape[1], device=x.device) < (counts * self.step).unsqueeze(1)
        out[own] = frames
        return out.transpose(1, 2)

    def __call__(self, x: Tensor, counts: Tensor) -> Tensor:
        """x (N, D), counts (I,) -> waveforms (I, T)."""
        log_mel = self.log_mel(x, counts)
        silent = log_mel <= _SILENCE
        magnitude = self.spectrum.magnitudes(torch.where(silent, -torch.inf, log_mel))
        return griffin_lim(magnitude, self.spectrum, iterations=self.iterations)
