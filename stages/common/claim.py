"""What a plan may claim of its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class CorrelationPlan:
    """Spearman's rho, over encoders, between one metric and another; `x` and `y` list tasks in the same order."""

    x: list[str]
    x_metric: str
    y: list[str]
    y_metric: str
    x_slice: str = "all"
    y_slice: str = "all"
    above: float = 0.0


@dataclass(frozen=True)
class ChoicePlan:
    """A choice made without labels: per seed the one of `among` whose partner in `by` has the best `by_metric`.

    It is set against the `oracle`, the best of `among` by the claim's own metric, or against the choice that `other` and
    `other_metric` make. All lists are in the same order.
    """

    among: list[str]
    by: list[str]
    by_metric: str
    by_slice: str = "all"
    against: Literal["oracle", "other"] = "oracle"
    other: list[str] = field(default_factory=list)
    other_metric: str = ""
    other_slice: str = "all"


@dataclass(frozen=True)
class ClaimPlan:
    """A claim of a paper: tasks in `order`, best first, by `metric` at the label share `slice`; a `correlation`; or a `choice`.

    Of a choice, the chosen task's metric less that of the one it is set against is to lie above `margin`.
    """

    says: str
    metric: str | None = None
    slice: str = "all"
    order: list[str] = field(default_factory=list)
    margin: float = 0.0
    correlation: CorrelationPlan | None = None
    choice: ChoicePlan | None = None
