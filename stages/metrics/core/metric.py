"""A metric with what is known of it: the label it judges and which way is better."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.common import registry


@dataclass(frozen=True)
class Metric:
    """function: (target (N,), prediction (N,), score (N, C) or None) -> float, over rows in any order, repeats allowed."""

    name: str
    function: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
    label: str  # class or number
    higher_is_better: bool


def metric(name: str, where: str = "") -> Metric:
    """The metric of that name. Raises UserError naming the nearest one."""
    function = registry.find("metric", name, where)
    module = sys.modules[function.__module__]
    return Metric(name, function, module.LABEL, module.HIGHER_IS_BETTER)
