"""Position by the whole encoder, trained further with a linear layer on labelled media."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.common.registry import part
from stages.encoders.core.inputs import Input
from stages.fit.core.coordinates import distance, outcome, points
from stages.fit.core.finetuning import FineTuning, finetune
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.material import Decoded

_ROWS = 512


@part
class FinetunePosition:
    """p = W h(x) + b, encoder h and linear layer trained together; p are the numbers in `columns`, in the train rows' scale.

    Loss: mean squared error of the standardised coordinates, (p - mean) / s, with one s (the root of the mean variance) for all
    of them. The epoch with the lowest mean Euclidean error on the valid rows is kept. An encoder of objective `none` makes it
    the training from scratch. The arguments are those of `stages.fit.core.finetuning.FineTuning`; the paper fine-tunes with
    AdamW and the mean squared error (Salihu, Schwarz and Rupp 2023). Raises UserError where the task names no encoder, the
    columns are not numbers, or the loss is not finite.
    """

    label: Literal["class", "number"] | None = "number"

    def __init__(
        self,
        *,
        columns: tuple[str, ...] = ("x", "y"),
        epochs: int = 100,
        batch_size: int = 32,
        lr: float = 5e-4,
        head_lr: float = 5e-4,
        layer_decay: float = 1.0,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        frozen_share: float = 0.0,
    ) -> None:
        self.columns = columns
        self.plan = FineTuning(
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            head_lr=head_lr,
            layer_decay=layer_decay,
            weight_decay=weight_decay,
            warmup=warmup,
            frozen_share=frozen_share,
        )

    def fit(self, problem: Problem) -> Outcome:
        at = points(problem, self.columns)
        encoder = problem.input.encoder()
        train, valid, test = (
            problem.input.media(rows.ids, encoder.frontend.contract) for rows in (problem.train, problem.valid, problem.test)
        )
        mean = at.train.mean(0)
        scale = (at.train - mean).square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        target = ((at.train - mean) / scale).float()
        layer = nn.Linear(encoder.width, len(self.columns)).to(target.device)
        nn.init.zeros_(layer.weight)  # the first guess is the mean of the train points, whatever torch's generator
        nn.init.zeros_(layer.bias)

        def loss(x: Input, index: Tensor) -> Tensor:
            return (layer(encoder(x)) - target[index]).square().mean()

        def located(media: Decoded) -> Tensor:
            with torch.no_grad():
                parts = [layer(encoder(encoder.frontend(m.data, m.lengths))) for m in media.batches(_ROWS)]
            return torch.cat(parts).double() * scale + mean

        history = finetune(encoder, layer, train, loss, self.plan, problem.seed, lambda: -distance(located(valid), at.valid))
        details = {"train_loss": [history[0], history[-1]], "valid_error": distance(located(valid), at.valid)}
        return outcome(located(test), at.test, details)
