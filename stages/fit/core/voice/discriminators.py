"""Discriminators of waveforms: by period and by scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.1


@dataclass(frozen=True)
class Opinion:
    """score (B, S): how real each part of a waveform looks; features: every layer's output before that."""

    score: Tensor
    features: list[Tensor]


class PeriodDiscriminator(nn.Module):
    """wave (B, T), folded to rows of `period` samples (reflected at the end), seen by convolutions along the columns alone.

    HiFi-GAN, sec. 2.3: five kernels of (5, 1), strides 3, the last 1; a kernel of (3, 1) gives the score.
    """

    def __init__(self, period: int, channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)) -> None:
        super().__init__()
        self.period = period
        steps = [3] * (len(channels) - 1) + [1]
        inputs = (1, *channels[:-1])
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, (5, 1), (s, 1), padding=(2, 0)))
            for i, o, s in zip(inputs, channels, steps, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Opinion:
        short = -wave.shape[1] % self.period
        h = pad(wave.unsqueeze(1), (0, short), "reflect") if short else wave.unsqueeze(1)
        return _opinion(h.view(len(wave), 1, -1, self.period), self.layers, self.last)


class ScaleDiscriminator(nn.Module):
    """wave (B, T), averaged `halvings` times over 4 samples at steps of 2, seen by grouped convolutions of 41 samples.

    HiFi-GAN, sec. 2.3, after MelGAN's: kernel 15, then 41 at strides 2, 2, 4, 4, 1, then 5; a kernel of 3 gives the score.
    Weights are normed, at the first scale too, where the paper norms their spectra.
    """

    def __init__(self, halvings: int, channels: int = 128) -> None:
        super().__init__()
        self.halvings = halvings
        c = channels
        shapes = [(1, c, 15, 1, 1), (c, c, 41, 2, 4), (c, 2 * c, 41, 2, 16), (2 * c, 4 * c, 41, 4, 16)]
        shapes += [(4 * c, 8 * c, 41, 4, 16), (8 * c, 8 * c, 41, 1, 16), (8 * c, 8 * c, 5, 1, 1)]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv1d(i, o, k, s, groups=min(g, i), padding=k // 2)) for i, o, k, s, g in shapes
        )
        self.last = weight_norm(nn.Conv1d(8 * c, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Opinion:
        h = wave.unsqueeze(1)
        for _ in range(self.halvings):
            h = avg_pool1d(h, 4, 2, padding=2)
        return _opinion(h, self.layers, self.last)


class Discriminators(nn.Module):
    """One for each of `periods`, one for each of `scales` halvings; wave (B, T) -> an opinion of each."""

    def __init__(
        self,
        *,
        periods: tuple[int, ...] = (2, 3, 5, 7, 11),
        scales: tuple[int, ...] = (0, 1, 2),
        period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024),
        scale_channels: int = 128,
    ) -> None:
        super().__init__()
        by_period = [PeriodDiscriminator(p, period_channels) for p in periods]
        self.all = nn.ModuleList([*by_period, *(ScaleDiscriminator(s, scale_channels) for s in scales)])

    def forward(self, wave: Tensor) -> list[Opinion]:
        return [one(wave) for one in self.all]


def _opinion(h: Tensor, layers: nn.ModuleList, last: nn.Module) -> Opinion:
    features = []
    for layer in layers:
        h = leaky_relu(layer(h), _SLOPE)
        features.append(h)
    h = last(h)
    return Opinion(torch.flatten(h, 1), [*features, h])
