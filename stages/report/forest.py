"""The picture of a claim's intervals: each estimate with its 95% interval against the threshold, all on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, PAD = 240.0, 8.0  # pixels


@dataclass(frozen=True)
class Mark:
    """Positions in pixels from the left; low and high are None where there is no interval, at is None where no estimate."""

    at: float | None
    low: float | None
    high: float | None
    threshold: float


def marks(comparisons: Sequence[Mapping[str, Any]], threshold: float) -> list[Mark]:
    """One mark per comparison, scaled so that zero, the threshold and every end of an interval are inside."""
    figures = [c.get(k) for c in comparisons for k in ("estimate", "low", "high")]
    seen = [0.0, threshold, *(float(v) for v in figures if v is not None)]
    low, high = min(seen), max(seen)
    scale = (WIDTH - 2 * PAD) / (high - low) if high > low else 0.0

    def place(value: Any) -> float | None:
        return None if value is None else round(PAD + (float(value) - low) * scale, 1)

    at = place(threshold) or 0.0
    return [Mark(place(c.get("estimate")), place(c.get("low")), place(c.get("high")), at) for c in comparisons]
