"""What a head is: it is given one problem (one seed, one label share) and gives back predictions, or values, or tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.tasks import Exhibit
from stages.fit.core.material import Material

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Rows:
    """Feature rows of a split: ids (N,), index (N,) within the item, x (N, D) float32.

    target (N,): class indices int64 (-1: not labelled) or numbers float64 (nan: not labelled); (N, width) class indices for a
    label of steps; None where the task has no label. text (N,): the items' texts, for a label of text.
    """

    ids: np.ndarray
    index: np.ndarray
    x: Tensor
    target: Tensor | None = None
    text: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, chosen: np.ndarray) -> Rows:
        """The rows that `chosen` (N,) bool marks; where it marks all, these rows themselves and no copy."""
        if chosen.all():
            return self
        mask = torch.from_numpy(chosen).to(self.x.device)
        target = None if self.target is None else self.target[mask]
        text = None if self.text is None else self.text[chosen]
        return Rows(self.ids[chosen], self.index[chosen], self.x[mask], target, text)

    @property
    def labels(self) -> Tensor:
        """target (N,), for a head that is fitted on labels: the stage hands it labelled rows only."""
        if self.target is None:
            raise TypeError("a head with a `label` was handed rows without one")
        return self.target


@dataclass(frozen=True)
class Problem:
    """What a head is fitted on: train teaches, valid chooses hyper-parameters, test is only predicted.

    classes: names, where the label is a class. support: the rows of a split of the task's second features. material: the
    corpus' other columns, and the encoder that the task's `support:` names.
    """

    seed: int
    slice: str
    train: Rows
    valid: Rows
    test: Rows
    classes: list[str] = field(default_factory=list)
    support: Callable[[str], Rows] | None = None
    material: Material | None = None

    @property
    def input(self) -> Material:
        """The media and the encoder behind the features, for a head that reads more than features."""
        if self.material is None:
            raise TypeError("the problem was made without its material")
        return self.material

    def split(self, name: str) -> Rows:
        """The rows of a split. Raises UserError where there are none."""
        if name not in SPLITS:
            raise UserError(f"unknown split {name!r}", where="head", do=f"choose one of: {', '.join(SPLITS)}")
        rows: Rows = getattr(self, name)
        if not len(rows):
            raise UserError(
                f"the features have no rows of split {name!r}", where="head", do="extract that split, or name another"
            )
        return rows


@dataclass
class Outcome:
    """What a head gives back.

    prediction (N,) and score (N, C): for the test rows; text (N,) for a label of text. values: figures that the head makes
    itself, over `items` items. details: what was chosen and how (goes into metrics.json). tables: columns of further output
    files by name. exhibits: pictures and sounds for the report.
    """

    prediction: Tensor | None = None
    score: Tensor | None = None
    text: np.ndarray | None = None
    values: dict[str, float] = field(default_factory=dict)
    items: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    exhibits: list[Exhibit] = field(default_factory=list)


class Head(Protocol):
    """Made as `part(**arguments)`. label: the kind of label it is fitted on; None: it needs none, and sees whole splits."""

    label: Literal["class", "number", "text", "steps"] | None

    def fit(self, problem: Problem) -> Outcome:
        """Fits on train, chooses on valid, predicts test. Raises UserError where the problem does not suit it."""
