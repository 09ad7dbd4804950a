"""BART: an encoder that sees a whole text, and a decoder that writes one from left to right."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.common.symbols import SPECIAL
from stages.encoders.core.decoder import DecoderBlock, cut, shifted
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Padded, Tokens, pooled, tensor
from stages.encoders.core.transformer import Block, initialise, seen

_EPS = 1e-5
_PAD, _END = SPECIAL.index("[PAD]"), SPECIAL.index("[SEP]")


@part
class Bart(TokenBackbone):
    """x (B, T) of symbols -> h (B, dim) of both halves, or of the encoder alone.

    Lewis et al. 2020, "BART", sec. 2.1 and 3.1; its large form has the default values, and it is the one of Chilingaryan et
    al. 2022, "BARTSmiles", sec. 3. Embeddings of symbols plus learned positions, normed; `depth` blocks of self-attention
    under which no symbol sees padding; `decoder_depth` blocks of a decoder (`DecoderBlock`) over its own positions. Norms
    follow the sums. The symbols' embeddings serve both halves and, transposed and without bias, the output.

    pool: `last` feeds x to the encoder and, one place later, to the decoder; h is the decoder's state where it foretells x's
    last symbol, [SEP]: BART's input of classifiers (sec. 3.1). `mean`: the mean of the encoder's states over x's own symbols.
    hidden: one (B, T, dim) for each of the encoder's blocks, then for each of the decoder's, fed with x as for `last`.
    positions, table: places and symbols that have an embedding (default: the front end's). dropout: of embeddings and of what
    each block adds. groups: h is made of the batch in so many groups of like length, each cut to its longest item.
    std: of the initial weights, normal and cut at two of them; 0.02 is that of a width of 1024.

    Raises ContractError for x that is no sequence of symbols or is longer than the positions, UserError for values out of
    range.
    """

    heeds_length = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int = 1024,
        depth: int = 12,
        decoder_depth: int = 12,
        heads: int = 16,
        mlp_ratio: float = 4.0,
        positions: int | None = None,
        table: int | None = None,
        pool: Literal["last", "mean"] = "last",
        dropout: float = 0.1,
        groups: int = 1,
        std: float = 0.02,
    ) -> None:
        super().__init__()
        where = "backbone bart"
        if len(frontend.shape) != 1 or not frontend.contract.get("tokenizer"):
            raise ContractError(f"{where} takes a text's symbols (T,), the front end gives {frontend.shape}", do="use `tokens`")
        if dim % heads or not 0 <= dropout < 1 or min(depth, decoder_depth, groups) < 1 or std <= 0:
            raise UserError(
                f"dim {dim} must be a multiple of heads ({heads}), dropout {dropout:g} lie in [0, 1), the depths {depth} and "
                f"{decoder_depth} and groups {groups} be 1 or more, std above 0",
                where=where,
            )
        self.width, self.pool, self.groups = dim, pool, groups
        self.places = frontend.shape[0] if positions is None else positions
        table = frontend.vocabulary if table is None else table
        if self.places < frontend.shape[0] or table < frontend.vocabulary:
            raise ContractError(
                f"{self.places} positions and {table} embeddings; needed: {frontend.shape[0]} and {frontend.vocabulary}",
                where=where,
                do="raise `positions` or `table`, or lower the front end's `length`",
            )
        self.symbols = nn.Embedding(table, dim)
        self.positions = nn.Parameter(torch.zeros(2, self.places, dim))  # of the encoder, of the decoder
        self.norms = nn.ModuleList(nn.LayerNorm(dim, eps=_EPS) for _ in range(2))
        self.drop = nn.Dropout(dropout)
        inner = int(dim * mlp_ratio)
        self.blocks = nn.ModuleList(Block(dim, heads, inner, "post", _EPS, dropout) for _ in range(depth))
        self.decoder = nn.ModuleList(DecoderBlock(dim, heads, inner, "post", _EPS, dropout) for _ in range(decoder_depth))
        initialise(self, std)
        nn.init.trunc_normal_(self.positions, std=std, a=-2 * std, b=2 * std)

    def embed(self, x: Tensor | Padded) -> Tokens:
        """x (B, T) -> what the encoder's blocks are given."""
        return Tokens(self._embedded(tensor(x), 0), x.own() if isinstance(x, Padded) else None)

    def encode(self, tokens: Tokens) -> list[Tensor]:
        """The encoder's states after each of its blocks."""
        h, mask, found = tokens.h, seen(tokens.own), []
        for block in self.blocks:
            h = block(h, mask)
            found.append(h)
        return found

    def decode(self, before: Tensor, memory: Tensor, own: Tensor | None) -> list[Tensor]:
        """The decoder's states (B, M, dim) after each of its blocks, for the symbols `before` (B, M) that it has written.

        memory (B, T, dim), own (B, T): the encoder's last states, and where they are an item's own. State i foretells symbol
        i + 1.
        """
        h, mask, found = self._embedded(before, 1), seen(own), []
        for block in self.decoder:
            h = block(h, memory, mask)
            found.append(h)
        return found

    def logits(self, states: Tensor) -> Tensor:
        """The decoder's last states (..., dim) -> logits (..., table) of the symbol that each foretells."""
        return nn.functional.linear(states, self.symbols.weight)

    def alike(self, lengths: Tensor) -> list[Tensor]:
        """The items 0 .. B-1 in `groups` of like length, shortest first."""
        return list(lengths.argsort(stable=True).chunk(self.groups))

    def forward(self, x: Tensor | Padded) -> Tensor:
        if not isinstance(x, Padded):
            return self._pooled(Padded(x, torch.full((len(x),), x.shape[1], device=x.device)))
        groups = self.alike(x.lengths)
        return torch.cat([self._pooled(cut(x, rows)) for rows in groups])[torch.cat(groups).argsort()]

    def hidden(self, x: Tensor | Padded) -> list[Tensor]:
        tokens = self.embed(x)
        states = self.encode(tokens)
        return states + self.decode(shifted(tensor(x), _END), states[-1], tokens.own)

    @torch.no_grad()
    def generate(self, x: Padded, length: int) -> Tensor:
        """The likeliest symbol each time, (B, at most `length`): [CLS], the text's symbols, [SEP], then [PAD].

        Writing of an item ends with [SEP], or after `length` symbols without one. Raises ContractError beyond the positions.
        """
        tokens = self.embed(x)
        memory = self.encode(tokens)[-1]
        written = torch.full((len(x), 1), _END, device=memory.device)
        ended = torch.zeros(len(x), dtype=torch.bool, device=memory.device)
        for _ in range(length):
            state = self.decode(written, memory, tokens.own)[-1][:, -1]
            symbol = self.logits(state).argmax(-1).masked_fill(ended, _PAD)
            written = torch.cat([written, symbol.unsqueeze(1)], 1)
            ended |= symbol == _END
            if ended.all():
                break
        return written[:, 1:]

    def _embedded(self, symbols: Tensor, half: int) -> Tensor:
        length = symbols.shape[1]
        if length > self.places:
            raise ContractError(f"{length} symbols, and {self.places} positions", where="backbone bart", do="raise `positions`")
        h: Tensor = self.drop(self.norms[half](self.symbols(symbols) + self.positions[half, :length]))
        return h

    def _pooled(self, x: Padded) -> Tensor:
        tokens = self.embed(x)
        memory = self.encode(tokens)[-1]
        if self.pool == "mean":
            return pooled(memory, tokens.own)
        states = self.decode(shifted(x.x, _END), memory, tokens.own)[-1]
        return states[torch.arange(len(x), device=states.device), x.lengths - 1]
