"""What an objective is: it owns the heads, teachers, queues and codebooks of one method."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from stages.encoders.core.encoder import Encoder


@dataclass(frozen=True)
class Batch:
    """views: V tensors x_v (B, *shape_v); sample (B,): rows of the corpus."""

    views: list[Tensor]
    sample: Tensor


class Objective(nn.Module):
    """Made as `part(encoder, **arguments)`; it may read the encoder's width and shape but must not keep the encoder itself."""

    trains = True  # False: nothing is optimised (random-init control)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        """Named scalar terms in float32; `total` is optimised, the rest is logged."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        """EMA teachers, queues, temperature schedules; called after each optimiser step."""

    def exported(self, encoder: Encoder) -> Encoder:
        """What becomes the encoder (a teacher, say). Default: the trained encoder."""
        return encoder

    def optimised(self, encoder: Encoder) -> Iterator[tuple[str, nn.Parameter]]:
        """Named parameters that the optimiser changes."""
        for prefix, module in (("encoder", encoder), ("objective", self)):
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    yield f"{prefix}.{name}", parameter
