"""What passes through an encoder beside plain tensors: sequences of unequal length, and the tokens between its two halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """x (B, ..., T): of item b the first lengths[b] positions of the last axis are its own, what follows is padding.

    Waveforms (B, 1, T), tokens (B, T) of whole numbers, events (B, F, T). lengths (B,) int64, 1 to T.
    """

    x: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def own(self, positions: int | None = None) -> Tensor:
        """(B, positions) bool: True where an item's own positions lie.

        positions: of a coarser sequence over the same stretch (default: T); one that overlaps the item in part is its own.
        """
        return own(self.lengths, self.x.shape[-1], positions or self.x.shape[-1])

    def map(self, function: Callable[[Tensor], Tensor]) -> Padded:
        """The same lengths over function(x), which keeps B and T."""
        return replace(self, x=function(self.x))


@dataclass(frozen=True)
class Graph:
    """B graphs of at most N nodes; node 0 is what an item is about, nodes beyond `count` are padding.

    nodes (B, N, F) int64: symbols of each node, 0 after its own, of which there are lengths (B, N). count (B,): nodes of each
    graph, 1 to N. adjacency (B, N, N) float32: 1 where an edge joins two nodes, no loops. degree (B, N) float32: of each node
    in the graph that this one was cut from, so that a normalisation is that of the whole graph.
    """

    nodes: Tensor
    lengths: Tensor
    count: Tensor
    adjacency: Tensor
    degree: Tensor

    def __len__(self) -> int:
        return len(self.nodes)

    def own(self) -> Tensor:
        """(B, N) bool: True where a node is, not padding."""
        return torch.arange(self.nodes.shape[1], device=self.count.device) < self.count.unsqueeze(1)


Input = Tensor | Padded | Graph


@dataclass(frozen=True)
class Tokens:
    """h (B, N, D), one embedding per patch, frame or word, as a `TokenBackbone` makes and takes them.

    own (B, N) bool: False where padding lies; None: all are the item's own. position (B, N) int64: where each was among all
    of its item; None: 0 .. N-1.
    """

    h: Tensor
    own: Tensor | None = None
    position: Tensor | None = None

    def at(self, index: Tensor) -> Tokens:
        """The tokens at `index` (B, M), which may differ between items; M <= N."""
        h = self.h.gather(1, index.unsqueeze(-1).expand(-1, -1, self.h.shape[-1]))
        kept = None if self.own is None else self.own.gather(1, index)
        return Tokens(h, kept, index if self.position is None else self.position.gather(1, index))

    def mean(self) -> Tensor:
        """(B, D): the mean over each item's own tokens."""
        return pooled(self.h, self.own)


def own(lengths: Tensor, samples: int, positions: int) -> Tensor:
    """(B, positions) bool: which of `positions` equal stretches of `samples` overlap the first lengths[b]; one at least."""
    count = -(-positions * lengths // samples)  # rounded up
    return torch.arange(positions, device=lengths.device) < count.clamp_min(1).unsqueeze(1)


def pooled(h: Tensor, mask: Tensor | None) -> Tensor:
    """h (B, N, D) -> (B, D): the mean over the positions where `mask` (B, N) is True; None: over all."""
    if mask is None:
        return h.mean(1)
    weight = mask.to(h.dtype).unsqueeze(-1)
    return (h * weight).sum(1) / weight.sum(1).clamp_min(1)


def tensor(x: Input) -> Tensor:
    """The values alone, padding included; of graphs what their nodes carry."""
    if isinstance(x, Graph):
        return x.nodes
    return x.x if isinstance(x, Padded) else x


def join(inputs: Sequence[Input]) -> Input:
    """Batches one after another."""
    graphs = [x for x in inputs if isinstance(x, Graph)]
    if graphs:
        return Graph(*(torch.cat([getattr(x, f.name) for x in graphs]) for f in fields(Graph)))
    if all(isinstance(x, Padded) for x in inputs):
        return Padded(torch.cat([tensor(x) for x in inputs]), torch.cat([x.lengths for x in inputs if isinstance(x, Padded)]))
    return torch.cat([tensor(x) for x in inputs])
