"""What an objective is: it owns the heads, teachers, queues and codebooks of one method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input
from stages.encoders.core.projector import Projector
from stages.pretrain.core.items import Source
from stages.views.core.base import Key


@dataclass(frozen=True)
class Batch:
    """V views of B items, each (B, *shape_v), and what is known of the items beside their media.

    key: names the batch's randomness (seed, epoch, rows of the corpus), for masks and other draws. index (B,): positions among
    the training items. side: the columns that the node's `side:` names, (B, ...) each. other: the same of the partners, of
    which a node with `pairs:` makes the second half of the views.
    """

    views: list[Input]
    key: Key
    index: Tensor
    side: Mapping[str, Tensor] = field(default_factory=dict)
    other: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def sample(self) -> Tensor:
        """Rows of the corpus (B,)."""
        return self.key.sample

    def __len__(self) -> int:
        return len(self.index)


class Objective(nn.Module):
    """Made as `part(encoder, **arguments)`; it may read the encoder's width and shape but must not keep the encoder itself.

    projector: the network between embeddings and loss; a method that has one sets it, and it is saved beside the encoder.
    """

    trains = True  # False: nothing is optimised (random-init control)
    projector: Projector

    def prepare(self, encoder: Encoder, items: Source, teacher: Encoder | None) -> None:
        """Before the first step, and again before a resumed one: units, codebooks, statistics of the items.

        teacher: the parent, in a node of `use: teacher`; one that is kept is kept `Still`. What is prepared must follow from
        the arguments and torch's generator alone.
        """

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


class Still(nn.Module):
    """A module that stays in evaluation mode and takes no gradients: a teacher that does not learn by descent."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Still:
        return self

    def forward(self, *arguments: Any) -> Any:
        return self.module(*arguments)


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, momentum: float) -> None:
    """The exponential moving average of a teacher: average <- momentum average + (1 - momentum) module; buffers are copied."""
    for kept, new in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(new.detach(), 1 - momentum)
    for buffer, now in zip(average.buffers(), module.buffers(), strict=True):
        buffer.copy_(now)
