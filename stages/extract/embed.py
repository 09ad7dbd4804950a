"""From a batch of stored media to the rows of one encoder's features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from stages.common import features, registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.media import decode
from stages.common.plan import FeaturesPlan
from stages.encoders.core import inputs
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input, Padded
from stages.encoders.core.projector import Projector
from stages.views.core.base import Key, Views


@dataclass(frozen=True)
class Batch:
    """n items, their media repeated up to the batch size B: data (B, ...), lengths (B,), row (B,), all on the device."""

    ids: pa.Array
    splits: pa.Array
    data: Tensor
    lengths: Tensor | None
    row: Tensor

    def __len__(self) -> int:
        return len(self.ids)


def decoded(row: np.ndarray, table: pa.Table, column: Column, encoder: Encoder, size: int, device: torch.device) -> Batch:
    """A batch on the device. The last item is repeated up to `size`: a sum's rounding depends on the size of its batch."""
    media = decode(table[column.name], column, encoder.frontend.contract)
    fill = np.minimum(np.arange(size), len(row) - 1)

    def tensor(values: np.ndarray) -> Tensor:
        whole = values[fill] if len(values) < size else np.require(values, requirements="W")
        there = torch.from_numpy(whole)
        return there.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else there.to(device)

    lengths = None if media.lengths is None else tensor(media.lengths)
    ids, splits = (table[name].combine_chunks() for name in ("id", "split"))
    return Batch(ids, splits, tensor(media.data), lengths, tensor(row))


class Embedder:
    """One encoder as a function of batches. `dimension`: D of its rows; `positions`: rows of one item and layer.

    Raises UserError where the chosen layers are not there or differ in D.
    """

    def __init__(
        self, encoder: Encoder, node: FeaturesPlan, seed: int, trial: Batch, projector: Projector | None = None
    ) -> None:
        self.encoder, self.node, self.seed, self.projector = encoder, node, seed, projector
        if projector is not None and (node.rows != "clip" or node.layers != [-1]):
            raise UserError("a projection has one row an item", where="output", do="use `rows: clip` and `layers: [-1]`")
        self.views: Views = registry.make("views", node.views, encoder.frontend)
        if len(set(node.layers)) != len(node.layers) or not node.layers:
            raise UserError(f"layers are named once each, got {node.layers}", where="layers")
        shapes = [h.shape[1:] for h in self(trial)]
        if len({d for _, d in shapes}) > 1:
            found = ", ".join(f"{layer}: {d}" for layer, (_, d) in zip(node.layers, shapes, strict=True))
            raise UserError(f"the chosen layers have several dimensions ({found})", where="layers", do="extract them apart")
        self.dimension = int(shapes[0][1])
        self.positions = max(int(r) for r, _ in shapes)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> list[Tensor]:
        """Per chosen layer (n, copies * N, D) on the CPU in the features' dtype, N = 1 for clips."""
        copies = []
        for copy in range(self.node.copies):
            x = self.views(batch.data, batch.lengths, Key(self.seed, copy, batch.row))[0]
            copies.append(self._layers(x))
        dtype = {"float32": torch.float32, "float16": torch.float16}[self.node.dtype]
        layers = [torch.cat(of_copies, 1)[: len(batch)].to(dtype).cpu() for of_copies in zip(*copies, strict=True)]
        for h in layers:
            if not torch.isfinite(h).all():
                raise ContractError(
                    f"seed {self.seed} gives embeddings that are no finite {self.node.dtype} numbers",
                    where=f"encoder {self.node.encoder}",
                    do="look at its pretraining for divergence, or store float32",
                )
        return layers

    def _layers(self, x: Input) -> list[Tensor]:
        """Per chosen layer (B, N, D). Clips: layer -1 is the embedding, another one the mean of the item's own positions."""
        chosen, clip = self.node.layers, self.node.rows == "clip"
        hidden = [] if clip and chosen == [-1] else self.encoder.hidden(x)
        for layer in chosen:
            if hidden and not -len(hidden) <= layer < len(hidden):
                raise UserError(
                    f"there is no layer {layer} among {len(hidden)}", where="layers", do="count from 0, or back from -1"
                )
        if not clip:
            return [hidden[i] for i in chosen]
        return [self._clip(x) if i == -1 else _mean(hidden[i], x) for i in chosen]

    def _clip(self, x: Input) -> Tensor:
        h: Tensor = self.encoder(x)
        return (h if self.projector is None else self.projector(h))[:, None]

    def rows(self, batch: Batch, layers: list[Tensor], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """The contract's record batches of the items start .. stop of a batch, layer by layer, by item and index."""
        keep = slice(start, stop)
        for layer, h in zip(self.node.layers, layers, strict=True):
            n, positions, dimension = h[keep].shape
            item, index = np.repeat(np.arange(n), positions), np.tile(np.arange(positions, dtype=np.int32), n)
            x = h[keep].reshape(-1, dimension).numpy()
            own = self._own(batch, positions)
            if own is not None:
                kept = np.flatnonzero(own[keep].reshape(-1))
                item, index, x = item[kept], index[kept], x[kept]
            ids, splits = (column[start:stop].take(pa.array(item)) for column in (batch.ids, batch.splits))
            row = batch.row[keep].cpu().numpy()[item]
            yield features.batch(ids, splits, row, index, layer, x)

    def _own(self, batch: Batch, positions: int) -> np.ndarray | None:
        """(n, positions) of bool: frames and tokens that overlap the item itself, not what pads it; None: all do."""
        if self.node.rows not in ("frame", "token") or batch.lengths is None:
            return None
        own = inputs.own(batch.lengths[: len(batch)].cpu(), batch.data.shape[1], positions // self.node.copies)
        return own.repeat(1, self.node.copies).numpy()


def _mean(h: Tensor, x: Input) -> Tensor:
    """h (B, N, D) -> (B, 1, D): the mean over each item's own positions."""
    return inputs.pooled(h, x.own(h.shape[1]) if isinstance(x, Padded) else None)[:, None]
