"""No training: the encoder stays at its initial weights, the control of every claim."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.objective import Batch, Objective


@part
class Untrained(Objective):
    """Takes no steps; seeds differ in their initial weights, the standardisation is that of the corpus."""

    trains = False

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        return {"total": torch.zeros(())}
