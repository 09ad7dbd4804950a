"""Decoded training media as tensors, and what is known of each item beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

BLOCK = 1024


@dataclass
class Items:
    """data (N, ...), lengths (N,) or None, rows (N,) in the corpus, labels (N,) of the monitor, -1 for none.

    side: further columns (N, ...). partners: for a node with `pairs:`, the items sorted by the value that makes a pair, so that
    any other item of the same value is found at once.
    """

    data: Tensor
    lengths: Tensor | None
    rows: Tensor
    labels: Tensor
    side: dict[str, Tensor] = field(default_factory=dict)
    partners: Partners | None = None

    def __len__(self) -> int:
        return len(self.data)

    def to(self, device: torch.device) -> Items:
        moved = None if self.lengths is None else self.lengths.to(device)
        side = {name: values.to(device) for name, values in self.side.items()}
        partners = None if self.partners is None else self.partners.to(device)
        return Items(self.data.to(device), moved, self.rows.to(device), self.labels.to(device), side, partners)

    def at(self, index: Tensor) -> Items:
        """The items at `index` (B,), without partners."""
        lengths = None if self.lengths is None else self.lengths[index]
        side = {name: values[index] for name, values in self.side.items()}
        return Items(self.data[index], lengths, self.rows[index], self.labels[index], side)

    def blocks(self, size: int = BLOCK) -> Iterator[Items]:
        for start in range(0, len(self), size):
            yield self.at(torch.arange(start, min(start + size, len(self)), device=self.data.device))


@dataclass(frozen=True)
class Partners:
    """order (N,): items sorted by value; place (N,): where each is in it; first, count (N,): of the run of its value."""

    order: Tensor
    place: Tensor
    first: Tensor
    count: Tensor

    @staticmethod
    def of(value: Tensor) -> Partners:
        """value (N,) int64: items of the same value are partners; one that is alone is its own."""
        order = torch.argsort(value, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        _, code, counts = torch.unique(value, return_inverse=True, return_counts=True)
        return Partners(order, place, (counts.cumsum(0) - counts)[code], counts[code])

    def to(self, device: torch.device) -> Partners:
        return Partners(*(t.to(device) for t in (self.order, self.place, self.first, self.count)))

    def draw(self, index: Tensor, uniform: Tensor) -> Tensor:
        """A partner (B,) of each item at `index` (B,): uniform (B,) in [0, 1) picks one among the others of its value."""
        count, first = self.count[index], self.first[index]
        ahead = 1 + (uniform * (count - 1)).long().clamp_max_(count - 2)  # 1 .. count - 1 places further on, in the circle
        return self.order[first + (self.place[index] - first + torch.where(count > 1, ahead, 0)) % count]
