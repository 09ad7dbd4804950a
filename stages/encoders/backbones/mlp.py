"""Multilayer perceptron."""

from __future__ import annotations

import math

from torch import Tensor, nn

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend


@part
class MLP(Backbone):
    """x (B, ...), flattened -> h (B, widths[-1]): layers of linear, batch norm (if asked) and ReLU.

    Weights: He et al. 2015, "Delving Deep into Rectifiers", Sec. 2.2, normal, fan-in. No bias where batch norm follows.
    widths: units per layer. It has no patch or frame rows (`hidden` raises ContractError).
    """

    def __init__(self, frontend: Frontend, *, widths: tuple[int, ...] = (512, 512), batch_norm: bool = True) -> None:
        super().__init__()
        shape = frontend.shape
        if not widths:
            raise UserError("backbone `mlp` needs one layer at least", do="name `widths`, or use backbone raw_input")
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, units in zip((math.prod(shape), *widths), widths):
            linear = nn.Linear(fan_in, units, bias=not batch_norm)
            nn.init.kaiming_normal_(linear.weight, mode="fan_in", nonlinearity="relu")
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
            layers += [linear, *([nn.BatchNorm1d(units)] if batch_norm else []), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers)
        self.width = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.layers(x)
        return h
