"""Fine-tuning for numbers: the whole encoder trained further with a linear layer on labelled media."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from stages.common.registry import part
from stages.fit.core.finetuning import FineTuning
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.tuned_layer import TunedLayer


@part
class FinetuneNumber:
    """y = mean + s (w h(x) + b), encoder h, which the task's `support:` names, and layer trained together by squared error.

    mean and s are those of the train labels; s is their standard deviation, or 1 where they are all equal. The epoch with the
    lowest squared error on the valid rows is kept, of equal ones the first. An encoder of objective `none` makes it the
    training from scratch. The arguments are those of `stages.fit.core.finetuning.FineTuning`; Lewis et al. 2020, "BART", sec.
    3.1, put one linear layer on the decoder's last state. Raises UserError where the task names no encoder or the loss is not
    finite.
    """

    label: Literal["class", "number", "text", "steps"] | None = "number"

    def __init__(
        self,
        *,
        epochs: int = 30,
        batch_size: int = 32,
        lr: float = 5e-4,
        head_lr: float = 5e-3,
        layer_decay: float = 1.0,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        frozen_share: float = 0.0,
    ) -> None:
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
        labels = problem.train.labels
        mean, spread = labels.mean(), labels.std(correction=0)
        scale = torch.where(spread > 0, spread, torch.ones_like(spread))
        target = ((labels - mean) / scale).float()

        def loss(outputs: Tensor, index: Tensor) -> Tensor:
            return (outputs[:, 0].float() - target[index]).square().mean()

        def error(outputs: Tensor) -> float:
            return float((outputs[:, 0] * scale + mean - problem.valid.labels).square().mean())

        found = TunedLayer.of(problem, 1, loss, lambda outputs: -error(outputs), self.plan)
        details = {"train_loss": found.losses, "valid_mse": error(found.valid)}
        return Outcome(prediction=found.test[:, 0] * scale + mean, details=details)
