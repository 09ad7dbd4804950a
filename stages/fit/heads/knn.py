"""k nearest neighbours by cosine similarity."""

from __future__ import annotations

from typing import Literal

import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.linear import best
from stages.measures.core.neighbours import knn_scores


@part
class NearestNeighbours:
    """Each test row x (D,) takes the class for which its k nearest train rows vote most, weighing exp(cosine / temperature).

    Wu et al. 2018, "Instance discrimination", sec. 3.4 (temperature 0.07); k = 20 as in Caron et al. 2021, "DINO". With several
    `k` the one with the highest accuracy on the valid rows is kept, of equal ones the largest.
    """

    label: Literal["class", "number"] | None = "class"

    def __init__(self, *, k: tuple[int, ...] = (20,), temperature: float = 0.07) -> None:
        if not k or min(k) < 1 or temperature <= 0:
            raise UserError("k must be 1 or more, and the temperature above 0", where="head knn")
        self.k, self.temperature = k, temperature

    def fit(self, problem: Problem) -> Outcome:
        train, valid, test = problem.train, problem.valid, problem.test
        bank, labels, classes = train.x, train.labels, len(problem.classes)

        def scores(x: torch.Tensor, k: int) -> torch.Tensor:
            return knn_scores(bank, labels, x, k=k, classes=classes, temperature=self.temperature)

        chosen, details = self.k[0], {}
        if len(self.k) > 1:
            accuracy = torch.stack([(scores(valid.x, k).argmax(1) == valid.labels).double().mean() for k in self.k])
            chosen = self.k[best(accuracy, accuracy.new_tensor(self.k))]
            details = {"valid_accuracy": [float(a) for a in accuracy]}
        score = scores(test.x, chosen)
        return Outcome(prediction=score.argmax(1), score=score, details={"k": min(chosen, len(train)), **details})
