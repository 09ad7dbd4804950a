"""What a head is: it is given one problem (one seed, one label share) and gives back predictions, or values, or tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Rows:
    """Feature rows of a split: ids (N,), index (N,) within the item, x (N, D) float32.

    target (N,): class indices int64 (-1: not labelled) or numbers float64 (nan: not labelled); None where the task has no
    label.
    """

    ids: np.ndarray
    index: np.ndarray
    x: Tensor
    target: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, chosen: np.ndarray) -> Rows:
        """The rows that `chosen` (N,) bool marks."""
        mask = torch.from_numpy(chosen).to(self.x.device)
        target = None if self.target is None else self.target[mask]
        return Rows(self.ids[chosen], self.index[chosen], self.x[mask], target)

    @property
    def labels(self) -> Tensor:
        """target (N,), for a head that is fitted on labels: the stage hands it labelled rows only."""
        if self.target is None:
            raise TypeError("a head with a `label` was handed rows without one")
        return self.target


@dataclass(frozen=True)
class Problem:
    """What a head is fitted on: train teaches, valid chooses hyper-parameters, test is only predicted.

    classes: names, where the label is a class. support: the rows of a split of the task's second features.
    """

    seed: int
    slice: str
    train: Rows
    valid: Rows
    test: Rows
    classes: list[str] = field(default_factory=list)
    support: Callable[[str], Rows] | None = None

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

    prediction (N,) and score (N, C): for the test rows. values: figures that the head makes itself, over `items` items.
    details: what was chosen and how (goes into metrics.json). tables: columns of further output files by name.
    """

    prediction: Tensor | None = None
    score: Tensor | None = None
    values: dict[str, float] = field(default_factory=dict)
    items: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)


class Head(Protocol):
    """Made as `part(**arguments)`. label: the kind of label it is fitted on; None: it needs none, and sees whole splits."""

    label: Literal["class", "number"] | None

    def fit(self, problem: Problem) -> Outcome:
        """Fits on train, chooses on valid, predicts test. Raises UserError where the problem does not suit it."""
