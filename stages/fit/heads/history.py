"""Figures of the encoder's own training, for claims that they foretell what its features are worth."""

from __future__ import annotations

from typing import Literal

from stages.common.errors import UserError, unknown
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem


@part
class History:
    """The last figures `names` that the card of the task's `support: encoders/<name>` keeps, per seed.

    loss: the whole loss at the last step; each term of it and each online measure (`rankme`, `feature_std`) under its own name.
    over: what the figures are divided by; Balestriero and LeCun 2025, "LeJEPA", sec. 6.2, compares losses of different weights
    lambda over lambda^0.4.

    Raises UserError for a figure that the encoder was not trained with, or a task without an encoder as its support.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(self, *, names: list[str] | None = None, over: float = 1.0) -> None:
        self.names = ["loss"] if names is None else names
        if not self.names:
            raise UserError("name one figure at least", where="head history.names", do="write [loss]")
        if over <= 0:
            raise UserError(f"figures are divided by a positive number, not {over:g}", where="head history.over")
        self.over = over

    def fit(self, problem: Problem) -> Outcome:
        card = problem.input.card()
        for name in self.names:
            if name not in card.metrics:
                raise unknown("figure of the training", name, card.metrics, where="head history.names")
        values = {name: card.metrics[name] / self.over for name in self.names}
        return Outcome(values=values, details={"steps": card.steps, "over": self.over})
