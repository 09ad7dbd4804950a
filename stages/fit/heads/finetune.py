"""Fine-tuning for classes: the whole encoder trained further with a linear layer on labelled media."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.common.registry import part
from stages.fit.core.finetuning import FineTuning
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.tuned_layer import TunedLayer


@part
class FineTune:
    """softmax(W h(x) + b), the encoder h that the task's `support:` names and the layer trained together by cross entropy.

    The epoch with the highest accuracy on the valid rows is kept, or, with `choose: loss`, that with the lowest cross entropy,
    which tells epochs apart where nearly all items are of one class; of equal ones the first. An encoder of objective `none`
    makes it the training from scratch. The arguments are those of `stages.fit.core.finetuning.FineTuning`; Chen et al. 2020,
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
        choose: Literal["accuracy", "loss"] = "accuracy",
    ) -> None:
        self.choose = choose
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
        target = problem.train.labels

        def loss(outputs: Tensor, index: Tensor) -> Tensor:
            return cross_entropy(outputs.float(), target[index])

        def accuracy(outputs: Tensor) -> float:
            return float((outputs.argmax(1) == problem.valid.labels).double().mean())

        def likelihood(outputs: Tensor) -> float:
            return -float(cross_entropy(outputs, problem.valid.labels))

        score = accuracy if self.choose == "accuracy" else likelihood
        found = TunedLayer.of(problem, len(problem.classes), loss, score, self.plan)
        details = {"train_loss": found.losses, "valid_accuracy": accuracy(found.valid)}
        return Outcome(prediction=found.test.argmax(1), score=found.test.softmax(1), details=details)
