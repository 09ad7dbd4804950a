"""The linear probe: multinomial logistic regression on frozen features."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core import softmax
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.linear import Axes, best


@part
class LinearProbe:
    """softmax(W (x - mean) / std + b), with mean and std (D,) of the train rows.

    W, b minimise mean cross entropy + l2 / 2 |W|^2 (scikit-learn's C is 1 / (l2 N)). Of the strengths `l2`, solved as one
    batch, the one with the highest accuracy on the valid rows is kept, of equal ones the strongest. It is not fitted again on
    train + valid. The sweep of L2 with L-BFGS is that of Chen et al. 2020, "SimCLR", app. B.8; features are standardised here.
    tolerance: of the 2-norm of the gradient. steps: of L-BFGS, at most; a warning says where they did not do.

    No draw enters, so the same rows are solved once: seeds that share features (raw input, an encoder of one seed) have the
    same rows at the label share `all`.
    """

    label: Literal["class", "number"] | None = "class"

    def __init__(
        self,
        *,
        l2: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        tolerance: float = 1e-4,
        steps: int = 1000,
    ) -> None:
        if not l2 or min(l2) <= 0:
            raise UserError(
                "every l2 must be above 0", where="head linear_probe.l2", do="separable classes have no optimum at 0"
            )
        if tolerance <= 0 or steps < 1:
            raise UserError("tolerance must be above 0 and steps 1 or more", where="head linear_probe")
        self.l2, self.tolerance, self.steps = l2, tolerance, steps
        self._found: dict[str, Outcome] = {}

    def fit(self, problem: Problem) -> Outcome:
        key = _digest(problem)
        if key not in self._found:
            self._found[key] = self._fit(problem)
        return self._found[key]

    def _fit(self, problem: Problem) -> Outcome:
        train, valid, test = problem.train, problem.valid, problem.test
        seen, labels = train.labels.unique(return_inverse=True)
        axes = Axes.of(train.x)
        l2 = axes.moments.new_tensor(self.l2)
        found = softmax.solve(
            axes.project(train.x), axes.moments, labels, len(seen), l2, tolerance=self.tolerance, steps=self.steps
        )
        guess = torch.einsum("rcd,nd->rcn", found.weights, axes.project(valid.x)) + found.bias[:, :, None]
        accuracy = (seen[guess.argmax(1)] == valid.labels).double().mean(1)
        kept = best(accuracy, l2)
        logits = axes.project(test.x) @ found.weights[kept].T + found.bias[kept]
        score = logits.new_zeros(len(test), len(problem.classes))
        score[:, seen] = logits.softmax(1)
        loose = int((found.gradient > self.tolerance).sum())
        return Outcome(
            prediction=seen[logits.argmax(1)],
            score=score,
            details={
                "l2": self.l2[kept],
                "valid_accuracy": [float(a) for a in accuracy],
                "iterations": [int(i) for i in found.iterations],
                "gradient": [float(g) for g in found.gradient],
            },
            warnings=[f"{loose} of {len(l2)} strengths did not converge to {self.tolerance:g}"] if loose else [],
        )


def _digest(problem: Problem) -> str:
    """Of all that a fit reads."""
    found = hashlib.blake2b("\0".join(problem.classes).encode(), digest_size=16)
    for rows, labels in ((problem.train, problem.train.labels), (problem.valid, problem.valid.labels), (problem.test, None)):
        found.update(str(tuple(rows.x.shape)).encode())
        for values in (rows.x, labels):
            if values is not None:
                found.update(np.ascontiguousarray(values.cpu().numpy()).view(np.uint8).data)
    return found.hexdigest()
