"""The latest embeddings of a training, first in, first out: negatives beyond the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


class Queue(nn.Module):
    """`kept` (N, D), rows in the order in which they are replaced from `place` on; random unit vectors at first.

    He et al. 2020, "Momentum contrast", sec. 3.2. What a batch brings is held back until the step is done, so that
    accumulated batches see one queue. It is saved and resumed with the objective.
    """

    kept: Tensor
    place: Tensor

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.register_buffer("kept", normalize(torch.randn(rows, width), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self._held: list[Tensor] = []

    def hold(self, z: Tensor) -> None:
        """Rows (B, D) that enter with the next `turn`."""
        self._held.append(z.detach().to(self.kept.dtype))

    @torch.no_grad()
    def turn(self) -> None:
        """The rows held back replace the oldest ones; of more rows than fit the latest stay."""
        if not self._held:
            return
        rows, size = torch.cat(self._held), len(self.kept)
        self._held.clear()
        where = (self.place + torch.arange(len(rows), device=rows.device)) % size
        self.kept[where[-size:]] = rows[-size:]
        self.place.copy_((self.place + len(rows)) % size)
