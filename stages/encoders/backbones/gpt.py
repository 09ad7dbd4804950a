"""GPT: a transformer in which each symbol sees those before it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Padded, Tokens, tensor
from stages.encoders.core.transformer import Block, initialise, through


@part
class GPT(TokenBackbone):
    """x (B, T) of symbols -> h (B, dim): the state of each item's last own symbol, or the mean over its own.

    Radford et al. 2018, "GPT", sec. 3.1, with the pre-norm blocks of Radford et al. 2019, "GPT-2", sec. 2.3: embeddings of
    symbols plus learned positions, blocks of self-attention in which position t sees positions up to t, one norm after the
    last. Padding stands behind an item's own symbols, so none of them sees it. Weights: normal of std 0.02, cut at two of them,
    those that end a residual branch divided by sqrt(2 depth). The defaults are Othello-GPT's (Li et al. 2023, sec. 2.2).
    `causal` says to objectives that a state does not know what follows it.

    positions: symbols of the longest sequence (default: the front end's length). dropout: of the sum of embeddings and of what
    each block adds. hidden: one (B, T, dim) per block, the residual stream after it; the last one normed.
    Raises ContractError for x that is no sequence of symbols or is longer than its positions, UserError for numbers out of
    range.
    """

    heeds_length = True
    causal = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        positions: int | None = None,
        pool: Literal["last", "mean"] = "last",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        where = "backbone gpt"
        if len(frontend.shape) != 1 or not frontend.vocabulary:
            raise ContractError(
                f"backbone `gpt` takes symbols (T,), the front end gives {frontend.shape}",
                do="use the front end `tokens`, or a backbone for this one",
            )
        if dim % heads:
            raise UserError(f"dim {dim} must be a multiple of heads ({heads})", where=where)
        if not 0 <= dropout < 1 or depth < 1:
            raise UserError(f"dropout {dropout:g} must lie in [0, 1) and depth {depth} be 1 or more", where=where)
        self.width, self.pool = dim, pool
        self.places = frontend.shape[0] if positions is None else positions
        self.symbols = nn.Embedding(frontend.vocabulary, dim)
        self.positions = nn.Parameter(torch.zeros(1, self.places, dim))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio), dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialise(self)
        nn.init.trunc_normal_(self.positions, std=0.02, a=-0.04, b=0.04)
        with torch.no_grad():
            for name, weight in self.blocks.named_parameters():
                if name.endswith(("out.weight", "mlp.2.weight")):
                    weight.div_((2 * depth) ** 0.5)

    def embed(self, x: Tensor | Padded) -> Tokens:
        """x (B, T) -> the symbols' embeddings (B, T, dim) with positions added."""
        symbols = tensor(x)
        length = symbols.shape[1]
        if length > self.places:
            raise ContractError(
                f"a sequence of {length} symbols is longer than the {self.places} positions",
                where="backbone gpt.positions",
                do="give it more positions, or the front end a shorter `length`",
            )
        h: Tensor = self.drop(self.symbols(symbols) + self.positions[:, :length])
        return Tokens(h, x.own() if isinstance(x, Padded) else None)

    def encode(self, tokens: Tokens) -> list[Tensor]:
        return through(self.blocks, self.norm, tokens.h, before(tokens))

    def forward(self, x: Tensor | Padded) -> Tensor:
        tokens = self.embed(x)
        last = self.encode(tokens)[-1]
        if self.pool == "mean":
            return Tokens(last, tokens.own).mean()
        if not isinstance(x, Padded):
            return last[:, -1]
        return last[torch.arange(len(last), device=last.device), (x.lengths - 1).clamp_min(0)]


def before(tokens: Tokens) -> Tensor:
    """The mask under which a query sees the keys of its own and earlier positions: (1, 1, N, N), or (B, 1, N, N) for some."""
    n = tokens.h.shape[1]
    position = torch.arange(n, device=tokens.h.device)[None] if tokens.position is None else tokens.position
    return (position[:, None, :] <= position[:, :, None])[:, None]
