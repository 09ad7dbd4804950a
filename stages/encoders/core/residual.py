"""What residual networks of pictures share: the stem for small pictures, stages of blocks, the mean over positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.common.errors import ContractError
from stages.encoders.core.encoder import Backbone


class ResidualNetwork(Backbone):
    """x (B, C, H, W) -> h (B, expansion * width * 2^(stages - 1)), by a 3x3 convolution of stride 1 and stages of blocks.

    block: (channels in, inner channels, stride) -> a block that gives expansion * inner channels. Each stage after the first
    doubles the inner channels; its first block has stride 2. Weights: He et al. 2015, normal, fan-out.
    hidden: one (B, H_l * W_l, C_l) per stage, raster order. Raises ContractError, naming `part`, for x that is no picture.
    """

    def __init__(
        self,
        part: str,
        shape: tuple[int, ...],
        width: int,
        blocks: tuple[int, ...],
        block: Callable[[int, int, int], nn.Module],
        expansion: int = 1,
    ) -> None:
        super().__init__()
        if len(shape) != 3:
            raise ContractError(f"backbone `{part}` takes (C, H, W), the front end gives {shape}", do="use mlp or conv1d")
        self.stem = nn.Sequential(nn.Conv2d(shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        channels = width
        for i, count in enumerate(blocks):
            inner, stage = width * 2**i, nn.Sequential()
            for j in range(count):
                stage.append(block(channels, inner, 2 if i and not j else 1))
                channels = expansion * inner
            self.stages.append(stage)
        self.width = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x.mean((2, 3))

    def hidden(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        layers = []
        for stage in self.stages:
            x = stage(x)
            layers.append(x.flatten(2).transpose(1, 2))
        return layers


class Residual(nn.Module):
    """relu(x + r(x)); x is projected by a 1x1 convolution and batch norm where its shape changes (option B)."""

    def __init__(self, residual: nn.Sequential, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(Projection(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.residual(x) + self.shortcut(x))


class Projection(nn.Conv2d):
    """A 1x1 convolution at a stride, without bias.

    From fewer than 16 channels it takes the kept positions first, the same sum to the bit: the backward of torch 2.13's
    strided one writes outside its memory then, for channels_last pictures of 48 pixels and more on a CPU, and the process ends.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.in_channels < 16:
            return F.conv2d(x[..., :: self.stride[0], :: self.stride[1]], self.weight)
        return super().forward(x)
