"""A measure with what is known of it: what it takes and which way is better."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from stages.common import registry


@dataclass(frozen=True)
class Measure:
    """function: one tensor, or two for `pair`, -> float."""

    name: str
    function: Callable[..., float]
    takes: str  # rows, views or pair
    higher_is_better: bool | None


def measure(name: str, where: str = "") -> Measure:
    """The measure of that name. Raises UserError naming the nearest one."""
    function = registry.find("measure", name, where)
    module = sys.modules[function.__module__]
    return Measure(name, function, module.TAKES, module.HIGHER_IS_BETTER)
