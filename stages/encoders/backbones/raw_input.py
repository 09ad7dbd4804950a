"""No network: the input itself, as the baseline that every encoder must beat."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend


@part
class RawInput(Backbone):
    """x (B, *shape), flattened -> h (B, D). It has no weights.

    side: pictures (B, C, H, W) are averaged to side x side first, series (B, C, T) to `side` steps (UserError for vectors and
    for a side above the input's). hidden: one layer, (B, N, C), a row per pixel or step; vectors have none (ContractError).
    """

    def __init__(self, frontend: Frontend, *, side: int | None = None) -> None:
        super().__init__()
        shape = frontend.shape
        if side is not None and (len(shape) < 2 or not 1 <= side <= min(shape[1:])):
            raise UserError(f"an input of shape {shape} cannot be averaged to {side}", where="backbone raw_input")
        self.side = side
        self.width = math.prod((shape[0], *(shape[1:] if side is None else [side] * (len(shape) - 1))))

    def _pooled(self, x: Tensor) -> Tensor:
        if self.side is None:
            return x
        return F.adaptive_avg_pool2d(x, self.side) if x.dim() == 4 else F.adaptive_avg_pool1d(x, self.side)

    def forward(self, x: Tensor) -> Tensor:
        return self._pooled(x).flatten(1)

    def hidden(self, x: Tensor) -> list[Tensor]:
        if x.dim() < 3:
            return super().hidden(x)
        return [self._pooled(x).flatten(2).transpose(1, 2)]
