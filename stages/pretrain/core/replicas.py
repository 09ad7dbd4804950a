"""The network of one process, or of ranks that each hold all of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core import shard
from stages.pretrain.core.averaging import Averaging
from stages.pretrain.core.batch_norm import synchronise_batch_norm
from stages.pretrain.core.objective import Batch, Objective


class Replicas:
    """Encoder and objective as they are trained: their forward pass, gradients, state and outcome.

    parameters: what is optimised, by name. Every rank holds the whole network; a batch's gradients are averaged over the ranks
    while backward runs. Batch norm takes statistics over all ranks.
    """

    def __init__(self, encoder: Encoder, objective: Objective) -> None:
        self.encoder, self.objective = encoder, objective
        for module in (encoder, objective):
            synchronise_batch_norm(module)
            module.train()
        self.parameters = dict(objective.optimised(encoder))
        self._averaging = Averaging(p for p in self.parameters.values() if not shard.cut(p))

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """The objective's terms for this rank's share of a batch."""
        return self.objective(self.encoder, batch)

    def backward(self, loss: Tensor, last: bool) -> None:
        """Adds to the gradients. last: of the step, so that the gradients may be averaged meanwhile."""
        if last:
            self._averaging.arm()
        loss.backward()

    def average(self) -> None:
        """Ends the averaging of the step's gradients."""
        self._averaging.finish()

    def clip(self, most: float) -> None:
        """Scales the gradients so that the norm of all of them together is `most` at most."""
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), most)

    def state(self, module: nn.Module) -> dict[str, Tensor]:
        """The module's whole state by name, on rank 0 at least; all ranks must ask for it."""
        return dict(module.state_dict())

    def load(self, module: nn.Module, state: dict[str, Any]) -> None:
        """Takes up what `state` gave, of as many ranks as there were."""
        module.load_state_dict(state)

    @contextlib.contextmanager
    def exported(self) -> Iterator[tuple[Encoder, Projector | None]]:
        """What becomes the encoder, and the objective's projector if it has one; whole on rank 0. All ranks must ask for it."""
        yield self.objective.exported(self.encoder), getattr(self.objective, "projector", None)
