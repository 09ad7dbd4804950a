"""Residual network of bottleneck blocks for small images: ResNet-50 and deeper."""

from __future__ import annotations

from torch import nn

from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.residual import Residual, ResidualNetwork

EXPANSION = 4  # an output has so many times the channels of its bottleneck (He et al. 2016, table 1)


@part
class ResNetBottleneck(ResidualNetwork):
    """x (B, C, H, W) -> h (B, 4 * width * 2^(stages - 1)): the last stage's mean over positions.

    He et al. 2016, "Deep Residual Learning for Image Recognition": bottleneck blocks (Sec. 4.1, table 1), 1x1 projections where
    the shape changes (option B), with the stem that Chen et al. 2020, "SimCLR", give it for CIFAR-10 (app. B.9): a 3x3
    convolution of stride 1, no max-pooling. Each stage after the first halves H and W (rounding up), in the 3x3 convolution of
    its first block, and doubles the channels. Weights: He et al. 2015, normal, fan-out.

    width: channels of the first stage's bottlenecks. blocks: blocks per stage; (3, 4, 6, 3) is ResNet-50.
    hidden: one (B, H_l * W_l, C_l) per stage, raster order. Raises ContractError for x that is no picture.
    """

    def __init__(self, frontend: Frontend, *, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__("resnet_bottleneck", frontend.shape, width, blocks, bottleneck, EXPANSION)


def bottleneck(channels: int, inner: int, stride: int) -> Residual:
    """1x1 to `inner` channels, 3x3 at `stride`, 1x1 to 4 `inner`; batch norm after each, ReLU between."""
    out = EXPANSION * inner
    residual = nn.Sequential(
        nn.Conv2d(channels, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner, 3, stride, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, out, 1, bias=False),
        nn.BatchNorm2d(out),
    )
    return Residual(residual, channels, out, stride)
