"""A stand-in encoder for tests of objectives: one linear map, so that losses and gradients can be written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.encoders.core.encoder import Encoder


class Flat(nn.Module):
    """x (B, ...) of 12 numbers an item -> h (B, 5)."""

    width = 5

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.map(x.flatten(1))
        return h


def encoder() -> Encoder:
    """The same weights whenever it is made."""
    torch.manual_seed(0)
    return Flat()  # type: ignore[return-value]
