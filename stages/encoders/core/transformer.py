"""What transformers share: the block, the mask that keeps padding out of attention, initial weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Self-attention and an MLP with GELU, each added to what came in; x (B, N, dim).

    norm `pre`: x + attention(norm(x)), then x + mlp(norm(x)) (ViT, GPT-2); `post`: norm(x + attention(x)), then
    norm(x + mlp(x)) (Vaswani et al. 2017, BERT, wav2vec 2.0 base).
    """

    def __init__(
        self, dim: int, heads: int, inner: int, norm: Literal["pre", "post"] = "pre", eps: float = 1e-6, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.heads, self.norm, self.dropout = heads, norm, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=eps), nn.LayerNorm(dim, eps=eps)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """mask: broadcasts to (B, heads, N, N); True where a query (N) may see a key (N), or numbers added to the logits."""
        if self.norm == "pre":
            x = x + self._drop(self.attend(self.norm1(x), mask, causal))
            return x + self._drop(self.mlp(self.norm2(x)))
        x = self.norm1(x + self._drop(self.attend(x, mask, causal)))
        return self.norm2(x + self._drop(self.mlp(x)))

    def attend(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        b, n, dim = x.shape
        q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(attended.transpose(1, 2).reshape(b, n, dim))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


def through(blocks: Iterable[nn.Module], norm: nn.Module, h: Tensor, mask: Tensor | None = None) -> list[Tensor]:
    """h (B, N, dim) through blocks one after another: each one's output, the last one normed, as pre-norm blocks need it."""
    found = []
    for block in blocks:
        h = block(h, mask)
        found.append(h)
    return [*found[:-1], norm(found[-1])]


def seen(own: Tensor | None) -> Tensor | None:
    """own (B, N) bool -> the mask (B, 1, 1, N) under which no query sees padding; None where there is none."""
    return None if own is None else own[:, None, None]


def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Linear weights and embeddings normal of `std`, cut at two of them; biases 0."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """positions (...) -> (..., dim): sin, then cos, of p 10000^(-2 i / dim), i < dim / 2 (Vaswani et al. 2017, sec. 3.5)."""
    frequencies = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64, device=positions.device) * 2 / dim)
    angles = positions.double().unsqueeze(-1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], -1).float()
