"""The order in which a stream's items are drawn: a function of (seed, epoch), and of which row group each item lies in.

The row groups of the chosen splits are put in a random order and cut into windows; the items of a window are shuffled among
each other. So an epoch takes every item once and reads every group once, and needs the groups of a window at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stages.pretrain.core.items import Schedule
from stages.pretrain.core.row_groups import RowGroups
from stages.views.core import random

_WINDOWS = 0x77696E64  # names the draw of the groups' order


@dataclass(frozen=True)
class Turn:
    """groups (K,), in corpus order, whose items are drawn now; begin, end: which places of the order of their items."""

    epoch: int
    groups: np.ndarray
    begin: int
    end: int


class Shuffle:
    """Windows of at most `window` groups, as equal as can be.

    Items have the keys that they have where a corpus is held whole (`random.permutation`). So one window gives that very order.
    """

    def __init__(self, groups: RowGroups, window: int) -> None:
        self.groups, self.window = groups, window

    def windows(self, seed: int, epoch: int) -> list[np.ndarray]:
        """The groups of each window, in corpus order. Every group is in one of them."""
        count = len(self.groups)
        order = torch.argsort(random.bits(random.stream(seed, epoch, _WINDOWS), count), stable=True).numpy()
        return [np.sort(part) for part in np.array_split(order, -(-count // self.window))]

    def order(self, seed: int, turn: Turn) -> Tensor:
        """The turn's items (n,) int64, shuffled."""
        items = torch.from_numpy(self.items(turn.groups))
        keys = random.words(random.stream(seed, turn.epoch), items)
        return items[torch.argsort(keys, stable=True)][turn.begin : turn.end]

    def items(self, groups: np.ndarray) -> np.ndarray:
        """All items (n,) of the groups, in corpus order."""
        return np.concatenate([self.groups.first[g] + np.arange(self.groups.count[g]) for g in groups])

    def turns(self, schedule: Schedule) -> Iterator[Turn]:
        """Turn after turn, from the schedule's first batch to its last; epochs end where no whole step is left."""
        begun, at = divmod(schedule.first, schedule.per_epoch)
        for epoch in range(begun, -(-schedule.last // schedule.per_epoch)):
            begin = (at if epoch == begun else 0) * schedule.batch_size
            end = min(schedule.per_epoch, schedule.last - epoch * schedule.per_epoch) * schedule.batch_size
            start = 0
            for groups in self.windows(schedule.seed, epoch):
                stop = start + int(self.groups.count[groups].sum())
                if start < end and stop > begin:
                    yield Turn(epoch, groups, max(0, begin - start), min(stop, end) - start)
                start = stop
