"""A GRU over events: the encoder of CoLES and of what was built on it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Backbone, Frontend
from stages.encoders.core.inputs import Padded, pooled, tensor


@part
class EventGRU(Backbone):
    """x (B, 4, T) of events -> h (B, dim): the state after an item's last event, or the mean of its states.

    An event is its code's embedding of `code_dim` beside its log time delta, its value and whether it has one; a recurrent
    network reads them in order of time (Babaev et al. 2022, "CoLES", sec. 3.1; the defaults are those of its authors' code for
    short sequences). hidden: one (B, T, dim) per layer; the state at an event has seen it and what came before, nothing after.
    depth: layers. Raises ContractError for x that is no sequence of events, UserError for numbers below 1.
    """

    heeds_length = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int = 256,
        code_dim: int = 32,
        depth: int = 1,
        pool: Literal["last", "mean"] = "last",
    ) -> None:
        super().__init__()
        if len(frontend.shape) != 2 or frontend.shape[0] != 4 or not frontend.vocabulary:
            raise ContractError(
                f"backbone `event_gru` takes events (4, T), the front end gives {frontend.shape}",
                do="use the front end `events`, or a backbone for this one",
            )
        if min(dim, code_dim, depth) < 1:
            raise UserError("dim, code_dim and depth must be 1 or more", where="backbone event_gru")
        self.width, self.pool = dim, pool
        self.codes = nn.Embedding(frontend.vocabulary, code_dim, padding_idx=0)
        self.layers = nn.ModuleList(nn.GRU(dim if layer else code_dim + 3, dim, batch_first=True) for layer in range(depth))

    def hidden(self, x: Tensor | Padded) -> list[Tensor]:
        since, code, value, has = tensor(x).unbind(1)
        h = torch.cat([self.codes(code.long()), torch.stack([since, value, has], -1)], -1)
        found: list[Tensor] = []
        for layer in self.layers:
            h = layer(h)[0]
            found.append(h)
        return found

    def forward(self, x: Tensor | Padded) -> Tensor:
        h = self.hidden(x)[-1]
        if self.pool == "mean":
            return pooled(h, x.own() if isinstance(x, Padded) else None)
        if not isinstance(x, Padded):
            return h[:, -1]
        return h[torch.arange(len(h), device=h.device), x.lengths - 1]
