"""Residual network for small images and spectrograms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend


@part
class ResNet(Backbone):
    """x (B, C, H, W) -> h (B, width * 2^(stages - 1)): the last stage's mean over positions.

    He et al. 2016, "Deep Residual Learning for Image Recognition": basic blocks (Sec. 3.3), 1x1 projections where the shape
    changes (option B), with the stem for small images (a 3x3 convolution of stride 1, no max-pooling; Sec. 4.2). Each stage
    after the first halves H and W (rounding up) and doubles the channels. Weights: He et al. 2015, normal, fan-out.

    width: channels of the first stage. blocks: basic blocks per stage; (2, 2, 2, 2) is ResNet-18.
    hidden: one (B, H_l * W_l, C_l) per stage, raster order. Raises ContractError for x that is no picture.
    """

    def __init__(self, frontend: Frontend, *, width: int = 64, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 3:
            raise ContractError(f"backbone `resnet` takes (C, H, W), the front end gives {shape}", do="use mlp or conv1d")
        self.stem = nn.Sequential(nn.Conv2d(shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        channels = width
        for i, count in enumerate(blocks):
            out, stride = width * 2**i, 1 if i == 0 else 2
            self.stages.append(
                nn.Sequential(
                    *[BasicBlock(channels if j == 0 else out, out, stride if j == 0 else 1) for j in range(count)],
                )
            )
            channels = out
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


class BasicBlock(nn.Module):
    """relu(x + BN(conv(relu(BN(conv(x))))); x is projected where its shape changes."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.residual(x) + self.shortcut(x))
