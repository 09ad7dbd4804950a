"""A generator of waveforms: transposed convolutions, each with residual blocks of several receptive fields."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.1


class Residual(nn.Module):
    """x (B, C, T) -> the same shape: for each dilation d, x + conv(lrelu(conv_d(lrelu(x)))), kernels of `kernel` (type 1)."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()

        def convolution(dilation: int) -> nn.Module:
            layer = nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
            return weight_norm(layer)

        self.first = nn.ModuleList(convolution(d) for d in dilations)
        self.second = nn.ModuleList(convolution(1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(leaky_relu(first(leaky_relu(x, _SLOPE)), _SLOPE))
        return x


class Generator(nn.Module):
    """Frames (B, D, N) -> waveforms (B, N * prod(rates)), within [-1, 1].

    HiFi-GAN's (Kong, Kim and Bae 2020, sec. 2.2 and app. A.1; the defaults are V1): a convolution of 7 to `channels`; for each
    rate a transposed convolution that halves the channels, its kernel twice the rate, then the mean of a residual block for
    each of `kernels`; a convolution of 7, tanh. In kNN-VC the input is features in place of
    mel bands (Baas et al. 2023, sec. 3.3).
    """

    def __init__(
        self,
        inputs: int,
        *,
        channels: int = 512,
        rates: tuple[int, ...] = (8, 8, 2, 2),
        kernels: tuple[int, ...] = (3, 7, 11),
        dilations: tuple[int, ...] = (1, 3, 5),
    ) -> None:
        super().__init__()
        self.upsampling = math.prod(rates)
        self.first = weight_norm(nn.Conv1d(inputs, channels, 7, padding=3))
        self.ups, self.blocks = nn.ModuleList(), nn.ModuleList()
        for i, rate in enumerate(rates):
            wide, narrow = channels >> i, channels >> (i + 1)
            up = nn.ConvTranspose1d(wide, narrow, 2 * rate, rate, padding=rate // 2 + rate % 2, output_padding=rate % 2)
            self.ups.append(weight_norm(up))
            self.blocks.append(nn.ModuleList(Residual(narrow, kernel, dilations) for kernel in kernels))
        self.last = weight_norm(nn.Conv1d(channels >> len(rates), 1, 7, padding=3))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            h = up(leaky_relu(h, _SLOPE))
            h = torch.stack([block(h) for block in blocks]).mean(0)  # type: ignore[attr-defined]
        wave: Tensor = self.last(leaky_relu(h)).tanh().squeeze(1)
        return wave
