"""No network: the frames of a spectrogram or series as they are, as the baseline of frame-wise features."""

from __future__ import annotations

from torch import Tensor

from stages.common.errors import ContractError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend
from stages.encoders.core.inputs import Input, Padded, pooled, tensor


@part
class Frames(Backbone):
    """x (B, C, F, T) or (B, C, T), or `Padded` of it -> h (B, D): the mean frame of each item, D = C F or C. It has no weights.

    hidden: one layer, (B, T, D), a row per frame (`raw_input` gives one per pixel). Raises ContractError for x without time.
    """

    heeds_length = True

    def __init__(self, frontend: Frontend) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) not in (2, 3):
            raise ContractError(f"backbone `frames` takes (C, F, T) or (C, T), the front end gives {shape}", do="use raw_input")
        self.width = shape[0] * (shape[1] if len(shape) == 3 else 1)

    def hidden(self, x: Input) -> list[Tensor]:
        values = tensor(x)
        return [values.flatten(1, -2).transpose(1, 2)]

    def forward(self, x: Input) -> Tensor:
        return pooled(self.hidden(x)[0], x.own() if isinstance(x, Padded) else None)
