"""Residual network for small images and spectrograms."""

from __future__ import annotations

from torch import nn

from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.residual import Residual, ResidualNetwork


@part
class ResNet(ResidualNetwork):
    """x (B, C, H, W) -> h (B, width * 2^(stages - 1)): the last stage's mean over positions.

    He et al. 2016, "Deep Residual Learning for Image Recognition": basic blocks (Sec. 3.3), 1x1 projections where the shape
    changes (option B), with the stem for small images (a 3x3 convolution of stride 1, no max-pooling; Sec. 4.2). Each stage
    after the first halves H and W (rounding up) and doubles the channels. Weights: He et al. 2015, normal, fan-out.

    width: channels of the first stage. blocks: basic blocks per stage; (2, 2, 2, 2) is ResNet-18.
    hidden: one (B, H_l * W_l, C_l) per stage, raster order. Raises ContractError for x that is no picture.
    """

    def __init__(self, frontend: Frontend, *, width: int = 64, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> None:
        super().__init__("resnet", frontend.shape, width, blocks, basic)


def basic(channels: int, out: int, stride: int) -> Residual:
    """relu(x + BN(conv(relu(BN(conv(x)))))), both convolutions 3x3, the first at `stride`."""
    residual = nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(out),
    )
    return Residual(residual, channels, out, stride)
