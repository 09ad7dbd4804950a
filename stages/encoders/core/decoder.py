"""The decoder of a sequence-to-sequence transformer, which sees its own past and all of another sequence's states."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.encoders.core.inputs import Padded
from stages.encoders.core.transformer import Block


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the states of an encoder and an MLP, each added to what came in (`Block`).

    Vaswani et al. 2017, "Attention is all you need", sec. 3.1 and 3.2.3. norm: `post` norms each sum, as there and in BART;
    `pre` what goes into each part. Position i sees positions 0 .. i of its own sequence, so padding that follows it is not
    seen.
    """

    def __init__(
        self, dim: int, heads: int, inner: int, norm: Literal["pre", "post"] = "post", eps: float = 1e-5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.block = Block(dim, heads, inner, norm, eps)  # both of its sums are made here, with the third between them
        self.norm, self.heads, self.dropout = nn.LayerNorm(dim, eps=eps), heads, dropout
        self.query, self.memory, self.out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, N, dim), memory (B, M, dim), mask (B, 1, 1, M) bool: True where memory may be seen -> (B, N, dim)."""
        own = self.block
        if own.norm == "pre":
            x = x + self._drop(own.attend(own.norm1(x), causal=True))
            x = x + self._drop(self.look(self.norm(x), memory, mask))
            return x + self._drop(own.mlp(own.norm2(x)))
        x = own.norm1(x + self._drop(own.attend(x, causal=True)))
        x = self.norm(x + self._drop(self.look(x, memory, mask)))
        normed: Tensor = own.norm2(x + self._drop(own.mlp(x)))
        return normed

    def look(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of x (B, N, dim) to memory (B, M, dim)."""
        b, n, dim = x.shape
        q = self.query(x).view(b, n, self.heads, -1).transpose(1, 2)  # (B, heads, N, d)
        k, v = self.memory(memory).view(b, memory.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        found: Tensor = self.out(attended.transpose(1, 2).reshape(b, n, dim))
        return found

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def shifted(symbols: Tensor, first: int) -> Tensor:
    """symbols (B, T) -> (B, T): each one place later, `first` before them: what a decoder has seen when it foretells each."""
    start = torch.full_like(symbols[:, :1], first)
    return torch.cat([start, symbols[:, :-1]], 1)


def cut(x: Padded, rows: Tensor) -> Padded:
    """The items `rows` of x (B, T), without the positions that are padding in all of them."""
    lengths = x.lengths[rows]
    return Padded(x.x[rows, : int(lengths.max())], lengths)
