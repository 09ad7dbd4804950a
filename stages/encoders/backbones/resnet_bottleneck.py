"""Residual network of bottleneck blocks for small images: ResNet-50 and deeper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend

EXPANSION = 4  # an output has so many times the channels of its bottleneck (He et al. 2016, table 1)


@part
class ResNetBottleneck(Backbone):
    """x (B, C, H, W) -> h (B, 4 * width * 2^(stages - 1)): the last stage's mean over positions.

    He et al. 2016, "Deep Residual Learning for Image Recognition": bottleneck blocks (Sec. 4.1, table 1), 1x1 projections where
    the shape changes (option B), with the stem that Chen et al. 2020, "SimCLR", give it for CIFAR-10 (app. B.9): a 3x3
    convolution of stride 1, no max-pooling. Each stage after the first halves H and W (rounding up), in the 3x3 convolution of
    its first block, and doubles the channels. Weights: He et al. 2015, normal, fan-out.

    width: channels of the first stage's bottlenecks. blocks: blocks per stage; (3, 4, 6, 3) is ResNet-50.
    hidden: one (B, H_l * W_l, C_l) per stage, raster order. Raises ContractError for x that is no picture.
    """

    def __init__(self, frontend: Frontend, *, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 3:
            raise ContractError(
                f"backbone `resnet_bottleneck` takes (C, H, W), the front end gives {shape}", do="use mlp or conv1d"
            )
        self.stem = nn.Sequential(nn.Conv2d(shape[0], width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.stages = nn.ModuleList()
        channels = width
        for i, count in enumerate(blocks):
            inner, stage = width * 2**i, nn.Sequential()
            for j in range(count):
                stage.append(Bottleneck(channels, inner, 2 if i and not j else 1))
                channels = EXPANSION * inner
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


class Bottleneck(nn.Module):
    """relu(x + r(x)), r: 1x1 to `inner` channels, 3x3 at `stride`, 1x1 to 4 `inner`; batch norm after each, ReLU between."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        out = EXPANSION * inner
        self.residual = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.residual(x) + self.shortcut(x))
