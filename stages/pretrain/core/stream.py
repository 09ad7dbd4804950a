"""Training items read from the corpus as they are needed: row groups ahead of the batches, batches decoded ahead of the steps.

What is shuffled and kept is stored media; an item is decoded for its batch. So memory is that of the row groups of two or three
windows and of a few decoded batches, whatever the corpus has.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.common import media
from stages.common.overlap import Spread
from stages.pretrain.core.items import BLOCK, Drawn, Items, Partners, Schedule
from stages.pretrain.core.row_groups import Reader, RowGroup, RowGroups
from stages.pretrain.core.shuffle import Shuffle, Turn


class Stream:
    """A `Source` whose items are never held all at once. side: {column: (N, ...)}, small enough to be held.

    contract: of the front end. window: row groups that are shuffled together. threads: so many read and so many decode; they
    change no result. Errors of a damaged shard or item are raised where its batch is drawn.
    """

    partners: Partners | None = None  # any item of the corpus may be one: that is refused (`validation.streamed`)

    def __init__(
        self,
        reader: Reader,
        contract: dict[str, Any],
        window: int,
        threads: int = 1,
        device: torch.device | str = "cpu",
        side: dict[str, Tensor] | None = None,
    ) -> None:
        self.reader, self.contract, self.threads, self.device = reader, contract, threads, torch.device(device)
        self.shuffle = Shuffle(reader.groups, window)
        self.side = {name: values.to(self.device) for name, values in (side or {}).items()}
        self._drawing: Generator[Drawn] | None = None

    def __len__(self) -> int:
        return self.reader.groups.items

    def at(self, index: Tensor) -> Items:
        """The items at `index` (B,), in any order. Each row group that holds one is read once, `threads` at a time."""
        within, back = _places(self.reader.groups, index.cpu().numpy())
        parts = list(Spread(lambda g: self.reader(g).take(within[g]), iter(within), self.threads, self.threads))
        return self._here(0, index.cpu(), self._decoded(parts, back)).items

    def blocks(self, size: int = BLOCK) -> Iterator[Items]:
        """All items in corpus order, `size` at a time."""

        def turns() -> Iterator[Turn]:
            yield from (Turn(0, np.array([g]), 0, int(n)) for g, n in enumerate(self.reader.groups.count))

        yield from (drawn.items for drawn in self._run(turns, lambda t: torch.from_numpy(self.shuffle.items(t.groups)), size))

    def batches(self, schedule: Schedule) -> Iterator[Drawn]:
        """The schedule's batches. One schedule is followed at a time: another one ends it."""
        self.close()
        self._drawing = self._run(
            lambda: self.shuffle.turns(schedule),
            lambda turn: self.shuffle.order(schedule.seed, turn),
            schedule.batch_size,
            schedule.share,
        )
        return self._drawing

    def close(self) -> None:
        """Ends the threads. A batch that is being decoded is finished first."""
        if self._drawing is not None:
            self._drawing.close()

    def _run(
        self,
        turns: Callable[[], Iterator[Turn]],
        order: Callable[[Turn], Tensor],
        size: int,
        share: Callable[[Tensor], Tensor] = lambda index: index,
    ) -> Generator[Drawn]:
        """Batches of the turns' items, as `order` has them. A rank decodes its share alone."""

        def decode(batch: _Batch) -> Drawn:
            index = share(batch.index)
            within, back = _places(self.reader.groups, index.numpy())
            parts = [batch.held[g].take(place) for g, place in within.items()]
            return Drawn(batch.epoch, index, self._decoded(parts, back))

        groups = (int(g) for turn in turns() for g in turn.groups)
        reading = Spread(self.reader, groups, self.threads, self.shuffle.window)
        drawing = Spread(decode, _cut(turns(), order, reading, size), self.threads, self.threads + 1)
        try:
            for drawn in drawing:
                yield self._here(drawn.epoch, drawn.index, drawn.items)
        finally:
            drawing.close()
            reading.close()

    def _decoded(self, parts: list[RowGroup], back: np.ndarray) -> Items:
        """Items of several groups, put in the order `back` (B,) of their places in `parts`; on the CPU, pinned for a GPU."""
        parts = parts or [self.reader.nothing()]
        stored = pa.concat_arrays([part.media for part in parts])
        rows, labels = (np.concatenate(arrays) for arrays in zip(*((p.rows, p.labels) for p in parts), strict=True))
        if (np.diff(back) < 0).any():
            stored, rows, labels = stored.take(pa.array(back)), rows[back], labels[back]
        found = media.decode(stored, self.reader.column, self.contract)
        lengths = None if found.lengths is None else self._tensor(found.lengths)
        return Items(self._tensor(found.data), lengths, self._tensor(rows), self._tensor(labels))

    def _tensor(self, values: np.ndarray) -> Tensor:
        there = torch.from_numpy(np.require(values, requirements="W"))
        return there.pin_memory() if self.device.type == "cuda" else there

    def _here(self, epoch: int, index: Tensor, items: Items) -> Drawn:
        """The batch on the device, with the columns beside it."""
        index, items = index.to(self.device), items.to(self.device)
        items.side = {name: values[index] for name, values in self.side.items()}
        return Drawn(epoch, index, items)


@dataclass(frozen=True)
class _Batch:
    """index (B,) of the items, and the groups in which they lie, by their numbers."""

    epoch: int
    index: Tensor
    held: dict[int, RowGroup]


def _cut(turns: Iterator[Turn], order: Callable[[Turn], Tensor], groups: Iterator[RowGroup], size: int) -> Iterator[_Batch]:
    """The turns' items in batches of `size`, the last one of all shorter. groups: those of the turns, one after another."""
    nothing = torch.empty(0, dtype=torch.int64)
    rest = _Batch(0, nothing, {})  # of the turns before, not yet a whole batch
    for turn in turns:
        held = {int(g): next(groups) for g in turn.groups}
        for part in torch.cat([rest.index, order(turn)]).split(size):
            batch = _Batch(turn.epoch, part, rest.held | held)
            rest = _Batch(turn.epoch, nothing, {})
            if len(part) == size:
                yield batch
            else:
                rest = batch
            del batch  # so that its groups go as soon as they are not needed
        del held
    if len(rest.index):
        yield rest


def _places(groups: RowGroups, index: np.ndarray) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """{group: places in it} of items (B,), group by group; and where in that order each of them is, (B,)."""
    holding = groups.holding(index)
    order = np.argsort(holding, kind="stable")
    numbers, starts = np.unique(holding[order], return_index=True)
    parts = np.split(index[order], starts[1:])
    return {int(g): part - groups.first[g] for g, part in zip(numbers, parts)}, np.argsort(order)
