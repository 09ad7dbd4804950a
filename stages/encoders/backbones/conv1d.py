"""Strided convolutions over time, for waveforms and series."""

from __future__ import annotations

from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend


@part
class Conv1d(Backbone):
    """x (B, C, T) -> h (B, widths[-1]): the last block's mean over frames. A block is convolution, batch norm, ReLU.

    The form of CPC's encoder of waveforms (van den Oord et al. 2018, Sec. 3.1: five layers of strides 5, 4, 2, 2, 2 and
    kernels 10, 8, 4, 4, 4); the defaults suit series. Zero padding of kernel // 2. Weights: He et al. 2015, normal, fan-out.

    widths, kernels, strides: one entry per block. hidden: one (B, T_l, C_l) per block, T_l = (T + 2 (k // 2) - k) // s + 1.
    Raises ContractError for x that is no series, UserError where the three lists differ in length.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        widths: tuple[int, ...] = (64, 128, 256),
        kernels: tuple[int, ...] = (7, 5, 3),
        strides: tuple[int, ...] = (2, 2, 2),
    ) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 2:
            raise ContractError(f"backbone `conv1d` takes (C, T), the front end gives {shape}", do="use resnet, vit or mlp")
        if not widths or not len(widths) == len(kernels) == len(strides):
            raise UserError(
                f"{len(widths)} widths, {len(kernels)} kernels and {len(strides)} strides",
                where="backbone conv1d",
                do="give each block one of each",
            )
        self.blocks = nn.ModuleList()
        channels = shape[0]
        for out, kernel, stride in zip(widths, kernels, strides):
            convolution = nn.Conv1d(channels, out, kernel, stride, kernel // 2, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            self.blocks.append(nn.Sequential(convolution, nn.BatchNorm1d(out), nn.ReLU(inplace=True)))
            channels = out
        self.width = channels

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x.mean(2)

    def hidden(self, x: Tensor) -> list[Tensor]:
        layers = []
        for block in self.blocks:
            x = block(x)
            layers.append(x.transpose(1, 2))
        return layers
