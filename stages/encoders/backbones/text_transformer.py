"""Transformer over symbols: text, molecule strings, sequences."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Padded, Tokens, tensor
from stages.encoders.core.transformer import Block, initialise, seen, through


@part
class TextTransformer(TokenBackbone):
    """x (B, T) of symbols -> h (B, dim): the first symbol's state ([CLS]) or the mean over the item's own symbols.

    Embeddings of symbols plus learned positions, then blocks of self-attention under which no symbol sees padding (Devlin et
    al. 2019, "BERT", sec. 3; Vaswani et al. 2017). The blocks norm what goes into them (pre-norm, as in Radford et al. 2019,
    "GPT-2", sec. 2.3), with one norm after the last; BERT norms what comes out. There are no segments. Weights: normal of std
    0.02, cut at two of them. `symbols.weight` (V, dim) serves objectives that tie their output to it.

    positions: symbols of the longest sequence (default: the front end's length). table: symbols that have an embedding
    (default: the front end's vocabulary). dropout: of the sum of embeddings and of what each block adds. groups: h is made of
    the batch in so many groups of like length, each cut to its longest item, since padding costs as much as symbols do.
    hidden: one (B, T, dim) per block, all symbols of the sequence, [CLS] among them; the last one normed.
    Raises ContractError for x that is no sequence of symbols or is longer than its positions, and for too small a table.
    """

    heeds_length = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int = 192,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        positions: int | None = None,
        table: int | None = None,
        pool: Literal["cls", "mean"] = "cls",
        dropout: float = 0.0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        if len(frontend.shape) != 1 or not frontend.vocabulary:
            raise ContractError(
                f"backbone `text_transformer` takes symbols (T,), the front end gives {frontend.shape}",
                do="use the front end `tokens`, or a backbone for this one",
            )
        where = "backbone text_transformer"
        if dim % heads:
            raise UserError(f"dim {dim} must be a multiple of heads ({heads})", where=where)
        if not 0 <= dropout < 1 or min(depth, groups) < 1:
            raise UserError(
                f"dropout {dropout:g} must lie in [0, 1), depth {depth} and groups {groups} be 1 or more", where=where
            )
        table = frontend.vocabulary if table is None else table
        if table < frontend.vocabulary:
            raise ContractError(f"there are {frontend.vocabulary} symbols, and embeddings of {table}", where=f"{where}.table")
        self.width, self.pool, self.groups = dim, pool, groups
        self.places = frontend.shape[0] if positions is None else positions
        if self.places < frontend.shape[0]:
            raise _too_long(frontend.shape[0], self.places)
        self.symbols = nn.Embedding(table, dim)
        self.positions = nn.Parameter(torch.zeros(1, self.places, dim))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio), dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialise(self)
        nn.init.trunc_normal_(self.positions, std=0.02, a=-0.04, b=0.04)

    def embed(self, x: Tensor | Padded) -> Tokens:
        """x (B, T) -> the symbols' embeddings (B, T, dim) with positions added."""
        symbols = tensor(x)
        length = symbols.shape[1]
        if length > self.places:
            raise _too_long(length, self.places)
        h: Tensor = self.drop(self.symbols(symbols) + self.positions[:, :length])
        return Tokens(h, x.own() if isinstance(x, Padded) else None)

    def encode(self, tokens: Tokens) -> list[Tensor]:
        return through(self.blocks, self.norm, tokens.h, seen(tokens.own))

    def forward(self, x: Tensor | Padded) -> Tensor:
        if self.groups == 1 or not isinstance(x, Padded):
            return self._pooled(x)
        order = x.lengths.argsort(stable=True)
        groups = [Padded(x.x[chosen], x.lengths[chosen]) for chosen in order.chunk(self.groups)]
        h = [self._pooled(Padded(group.x[:, : int(group.lengths[-1])], group.lengths)) for group in groups]
        return torch.cat(h)[order.argsort()]

    def _pooled(self, x: Tensor | Padded) -> Tensor:
        tokens = self.embed(x)
        last = self.encode(tokens)[-1]
        return last[:, 0] if self.pool == "cls" else Tokens(last, tokens.own).mean()


def _too_long(length: int, places: int) -> ContractError:
    return ContractError(
        f"a sequence of {length} symbols is longer than the {places} positions",
        where="backbone text_transformer.positions",
        do="give it more positions, or the front end a shorter `length`",
    )
