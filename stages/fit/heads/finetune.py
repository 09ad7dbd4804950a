"""Fine-tuning for classes: the whole encoder trained further with a linear layer on labelled media."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.common.registry import part
from stages.encoders.core.inputs import Input
from stages.fit.core.finetuning import FineTuning, finetune
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.material import Decoded

_ROWS = 512


@part
class FineTune:
    """softmax(W h(x) + b), the encoder h that the task's `support:` names and the layer trained together by cross entropy.

    The epoch with the highest accuracy on the valid rows is kept, of equal ones the first. An encoder of objective `none` makes
    it the training from scratch. The arguments are those of `stages.fit.core.finetuning.FineTuning`; Chen et al. 2020,
    "SimCLR", app. B.5, fine-tune on 1% and 10% of the labels without warm-up. Raises UserError where the task names no encoder
    or the loss is not finite.
    """

    label: Literal["class", "number", "text", "steps"] | None = "class"

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
        encoder = problem.input.encoder()
        train, valid, test = (
            problem.input.media(rows.ids, encoder.frontend.contract) for rows in (problem.train, problem.valid, problem.test)
        )
        target = problem.train.labels
        layer = nn.Linear(encoder.width, len(problem.classes)).to(target.device)
        nn.init.zeros_(layer.weight)  # every class is as likely at first, whatever torch's generator
        nn.init.zeros_(layer.bias)

        def loss(x: Input, index: Tensor) -> Tensor:
            return cross_entropy(layer(encoder(x)).float(), target[index])

        def scores(media: Decoded) -> Tensor:
            with torch.no_grad():
                parts = [layer(encoder(encoder.frontend(m.data, m.lengths))) for m in media.batches(_ROWS)]
            return torch.cat(parts).double().softmax(1)

        def accuracy() -> float:
            return float((scores(valid).argmax(1) == problem.valid.labels).double().mean())

        history = finetune(encoder, layer, train, loss, self.plan, problem.seed, accuracy)
        score = scores(test)
        details = {"train_loss": [history[0], history[-1]], "valid_accuracy": accuracy()}
        return Outcome(prediction=score.argmax(1), score=score, details=details)
