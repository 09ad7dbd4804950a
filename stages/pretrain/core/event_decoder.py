"""From a sequence's embedding back to its events, for the objectives that reconstruct them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.common.errors import ContractError, UserError
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded
from stages.encoders.core.transformer import Block, initialise, sinusoids, through
from stages.pretrain.core.precision import full_precision


class EventDecoder(nn.Module):
    """h (B, D) and the events x (B, 4, T) -> what each event is foretold to be, from h and the events before it.

    A causal transformer over T tokens: a linear map of h, then the events but the last, as embeddings of their codes plus a
    linear map of the other three rows; sinusoids say their order. Returns logits (B, T, V) over codes, and values and log time
    deltas (B, T) each. Raises ContractError where x is no sequence of events, UserError for a dim that heads do not divide.
    """

    def __init__(self, encoder: Encoder, *, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        shape, vocabulary = encoder.frontend.shape, encoder.frontend.vocabulary
        if len(shape) != 2 or shape[0] != 4 or not vocabulary:
            raise ContractError(f"there are no events to reconstruct in x of shape {shape}", do="use the front end `events`")
        if min(dim, depth, heads) < 1 or dim % heads or dim % 2:
            raise UserError(f"dim {dim} must be even and a multiple of heads ({heads})", where="decoder")
        self.begin = nn.Linear(encoder.width, dim)
        self.codes, self.numbers = nn.Embedding(vocabulary, dim), nn.Linear(3, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, 4 * dim) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, vocabulary + 2)
        initialise(self)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = x[:, :, :-1]
        numbers = torch.stack([before[:, 0], before[:, 2], before[:, 3]], -1)
        tokens = torch.cat([self.begin(h)[:, None], self.codes(before[:, 1].long()) + self.numbers(numbers)], 1)
        n = tokens.shape[1]
        tokens = tokens + sinusoids(torch.arange(n, device=x.device), tokens.shape[2])
        causal = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        found = self.out(through(self.blocks, self.norm, tokens, causal)[-1])
        return found[..., :-2], found[..., -2], found[..., -1]

    def losses(self, h: Tensor, x: Padded) -> dict[str, Tensor]:
        """The terms of `reconstruction` of the events of x from h (B, D)."""
        longest = int(x.lengths.max())
        events = x.x[:, :, :longest]
        logits, values, waits = self(h, events)
        code, value, since = reconstruction(logits, values, waits, events, x.lengths)
        return {"code": code, "value": value, "since": since}


@full_precision
def reconstruction(logits: Tensor, value: Tensor, since: Tensor, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means over all events of a batch: cross entropy of codes, squared errors of values and of log time deltas.

    logits (B, T, V), value and since (B, T): as foretold. x (B, 4, T), lengths (B,): the events. Events without a value, and
    first events, whose delta is 0 by construction, are left out of their mean; a mean over none is 0.
    """
    own = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
    code = cross_entropy(logits[own], x[:, 1].long()[own])
    has, later = own & (x[:, 3] > 0), own.clone()
    later[:, 0] = False
    return code, _mean((value - x[:, 2]).square(), has), _mean((since - x[:, 0]).square(), later)


def _mean(error: Tensor, chosen: Tensor) -> Tensor:
    return torch.where(chosen, error, 0).sum() / chosen.sum().clamp_min(1)


def padded(x: object) -> Padded:
    """x as `Padded`. Raises ContractError where it has no lengths."""
    if not isinstance(x, Padded):
        raise ContractError("the views have no lengths, events have", do="use views that keep them, such as `none`")
    return x
