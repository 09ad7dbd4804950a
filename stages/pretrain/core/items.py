"""Decoded training media as tensors, what is known of each item beside them, and the order in which a training draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from stages.views.core import random

BLOCK = 1024


@dataclass(frozen=True)
class Schedule:
    """The batches first .. last - 1 of a training, counted from its start: `per_epoch` an epoch, of `batch_size` items each.

    share: a rank's part of a batch's index (B,).
    """

    seed: int
    batch_size: int
    per_epoch: int
    first: int
    last: int
    share: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Drawn:
    """A rank's part of a batch: index (B,) among the training items, and the items themselves."""

    epoch: int
    index: Tensor
    items: Items


class Source(Protocol):
    """Training items, whether they are held (Items) or streamed (Stream). An order follows from (seed, epoch) alone."""

    side: dict[str, Tensor]
    partners: Partners | None

    @property
    def device(self) -> torch.device: ...

    def __len__(self) -> int: ...

    def at(self, index: Tensor) -> Items:
        """The items at `index` (B,), in any order; from a stream this reads every row group that holds one of them."""

    def blocks(self, size: int = BLOCK) -> Iterator[Items]:
        """All items in corpus order."""

    def batches(self, schedule: Schedule) -> Iterator[Drawn]:
        """The schedule's batches, one after another."""

    def close(self) -> None:
        """Ends what runs in the background."""


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

    @property
    def device(self) -> torch.device:
        return self.data.device

    def __len__(self) -> int:
        return len(self.data)

    def to(self, device: torch.device) -> Items:
        """On a device. From pinned memory the copy goes on while the caller does."""
        data, lengths, rows, labels = (
            None if values is None else values.to(device, non_blocking=True)
            for values in (self.data, self.lengths, self.rows, self.labels)
        )
        assert data is not None and rows is not None and labels is not None
        side = {name: values.to(device) for name, values in self.side.items()}
        partners = None if self.partners is None else self.partners.to(device)
        return Items(data, lengths, rows, labels, side, partners)

    def at(self, index: Tensor) -> Items:
        """The items at `index` (B,), without partners."""
        lengths = None if self.lengths is None else self.lengths[index]
        side = {name: values[index] for name, values in self.side.items()}
        return Items(self.data[index], lengths, self.rows[index], self.labels[index], side)

    def blocks(self, size: int = BLOCK) -> Iterator[Items]:
        for start in range(0, len(self), size):
            yield self.at(torch.arange(start, min(start + size, len(self)), device=self.device))

    def batches(self, schedule: Schedule) -> Iterator[Drawn]:
        known, order = -1, torch.empty(0)
        for number in range(schedule.first, schedule.last):
            epoch, at = divmod(number, schedule.per_epoch)
            if epoch != known:
                known, order = epoch, random.permutation(schedule.seed, epoch, len(self), self.device)
            begin = at * schedule.batch_size
            index = schedule.share(order[begin : begin + schedule.batch_size])
            yield Drawn(epoch, index, self.at(index))

    def close(self) -> None:
        """Nothing runs in the background."""


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
