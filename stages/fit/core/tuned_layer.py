"""A linear layer on an encoder, both trained on labelled media: what heads that fine-tune for an item's label share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.encoders.core.inputs import Input
from stages.fit.core.finetuning import FineTuning, finetune
from stages.fit.core.head import Problem
from stages.fit.core.material import Decoded

_ROWS = 512


@dataclass(frozen=True)
class TunedLayer:
    """W h(x) + b after training, float64: valid (N, outputs), test (M, outputs); losses: the first and the last epoch's."""

    valid: Tensor
    test: Tensor
    losses: list[float]

    @staticmethod
    def of(
        problem: Problem,
        outputs: int,
        loss: Callable[[Tensor, Tensor], Tensor],
        score: Callable[[Tensor], float],
        plan: FineTuning,
    ) -> TunedLayer:
        """Trains the problem's encoder and a layer that starts at zero, so that its first guess follows from no generator.

        loss: of the outputs of train items (B, outputs) and their places (B,). score: of the valid outputs, more is better; the
        best epoch is kept. Raises UserError where the task names no encoder or the loss is not finite.
        """
        encoder = problem.input.encoder()
        train, valid, test = (
            problem.input.media(rows.ids, encoder.frontend.contract) for rows in (problem.train, problem.valid, problem.test)
        )
        layer = nn.Linear(encoder.width, outputs).to(train.data.device)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)

        def of(media: Decoded) -> Tensor:
            with torch.no_grad():
                parts = [layer(encoder(encoder.frontend(m.data, m.lengths))) for m in media.batches(_ROWS)]
            return torch.cat(parts).double()

        def of_batch(x: Input, index: Tensor) -> Tensor:
            return loss(layer(encoder(x)), index)

        history = finetune(encoder, layer, train, of_batch, plan, problem.seed, lambda: score(of(valid)))
        return TunedLayer(of(valid), of(test), [history[0], history[-1]])
