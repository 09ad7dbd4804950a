"""Position by the whole encoder, trained further with a linear layer on labelled media."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stages.common.registry import part
from stages.fit.core.coordinates import distance, outcome, points
from stages.fit.core.finetuning import FineTuning
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.tuned_layer import TunedLayer


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
        mean = at.train.mean(0)
        scale = (at.train - mean).square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
        target = ((at.train - mean) / scale).float()

        def loss(outputs: Tensor, index: Tensor) -> Tensor:
            return (outputs - target[index]).square().mean()

        def error(outputs: Tensor) -> float:
            return distance(outputs * scale + mean, at.valid)

        found = TunedLayer.of(problem, len(self.columns), loss, lambda outputs: -error(outputs), self.plan)
        details: dict[str, object] = {"train_loss": found.losses, "valid_error": error(found.valid)}
        return outcome(found.test * scale + mean, at.test, details)
