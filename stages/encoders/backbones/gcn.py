"""Graph convolutional network over nodes that carry text."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.media import SPECIAL
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.graph import GraphBackbone
from stages.encoders.core.inputs import Graph, Padded, Tokens
from stages.encoders.core.transformer import Block, initialise, seen, through

_ROWS = 128  # texts that the transformer reads at once


@part
class GCN(GraphBackbone):
    """`Graph` -> h (B, hidden): node 0 of each item, or the mean of its nodes, after `layers` convolutions.

    h_0 = W_0 x + b_0, h_k = A relu(h_{k-1}) W_k + b_k (Kipf and Welling 2017, eq. 2 and 9): x a node's text as a vector,
    A = D^-1/2 (A + I) D^-1/2, D the degrees in the whole graph plus one. So node 0 of an ego graph of `layers` hops is what the
    whole graph makes of it, unless the ego graph was cut. What is read out of h_k has passed no relu: its cosines may be
    negative. Weights: Glorot's uniform.

    texts: `bag`, the mean of the embeddings of a text's symbols (special ones left out, none: 0); `transformer`, the mean over
    its symbols' states after `depth` blocks: the network of the backbone `text_transformer` with `pool: mean`, whose weights it
    takes. dim, depth, heads, mlp_ratio, positions, table: of that; `bag` has dim and table alone. Equal texts of a batch are
    read once. hidden (`layers:` of features): order 0 .. layers. Raises ContractError for input that is no graph of symbols,
    UserError for arguments out of range.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        hidden: int = 128,
        layers: int = 2,
        readout: Literal["centre", "mean"] = "centre",
        texts: Literal["bag", "transformer"] = "bag",
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        positions: int | None = None,
        table: int | None = None,
    ) -> None:
        super().__init__()
        if len(frontend.shape) != 2 or not frontend.vocabulary:
            raise ContractError(
                f"backbone `gcn` takes nodes of symbols, the front end gives {frontend.shape}",
                do="use the front end `graph`, or a backbone for this one",
            )
        if min(hidden, dim, depth, heads) < 1 or layers < 0 or dim % heads:
            raise UserError("hidden, dim, depth and heads are 1 or more, dim a multiple of heads", where="backbone gcn")
        table = frontend.vocabulary if table is None else table
        positions = frontend.shape[1] if positions is None else positions
        if table < frontend.vocabulary or positions < frontend.shape[1]:
            raise ContractError(
                f"{frontend.vocabulary} symbols and texts of {frontend.shape[1]} have embeddings of {table} and {positions}",
                where="backbone gcn",
                do="raise `table` or `positions`",
            )
        self.width, self.layers, self.readout = hidden, layers, readout
        self.texts = Bag(table, dim) if texts == "bag" else Transformer(table, positions, dim, depth, heads, mlp_ratio)
        self.project = nn.Linear(dim, hidden)
        self.convolutions = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        for linear in (self.project, *self.convolutions):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def embed(self, x: Graph) -> Tensor:
        """(B, N, dim): each node's text as a vector; 0 for padding."""
        own = x.own()
        nodes, lengths = x.nodes[own], x.lengths[own]
        first, inverse = alike(nodes)
        vectors: Tensor = self.texts(nodes[first], lengths[first])
        out = vectors.new_zeros(*own.shape, vectors.shape[1])
        out[own] = vectors[inverse]
        return out

    def convolve(self, vectors: Tensor, x: Graph) -> list[Tensor]:
        own, passed = x.own(), normalised(x)
        h = self.project(vectors)
        found = [self._read(h, own)]
        for k, layer in enumerate(self.convolutions, 1):
            wanted = passed[:, :1] if k == self.layers and self.readout == "centre" else passed
            h = layer(wanted @ h.relu())
            found.append(self._read(h, own))
        return found

    def _read(self, h: Tensor, own: Tensor) -> Tensor:
        return h[:, 0] if self.readout == "centre" else Tokens(h, own).mean()


class Bag(nn.Module):
    """symbols (U, T) -> (U, dim): the mean of their embeddings; special symbols count for nothing."""

    def __init__(self, table: int, dim: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(table, dim)
        nn.init.normal_(self.symbols.weight)

    def forward(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        """lengths (U,): not needed, since 0 follows a text's own symbols."""
        ordinary = symbols.masked_fill(symbols < len(SPECIAL), 0)
        return F.embedding_bag(ordinary, self.symbols.weight, mode="mean", padding_idx=0)


class Transformer(nn.Module):
    """symbols (U, T), lengths (U,) -> (U, dim): the mean state of own symbols; weights named as text_transformer's."""

    def __init__(self, table: int, positions: int, dim: int, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.symbols = nn.Embedding(table, dim)
        self.positions = nn.Parameter(torch.zeros(1, positions, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialise(self)
        nn.init.trunc_normal_(self.positions, std=0.02, a=-0.04, b=0.04)

    def forward(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        """Texts of like length go together, so that little padding is read."""
        order = lengths.argsort(stable=True)
        h = [self._read(symbols[chosen], lengths[chosen]) for chosen in order.split(_ROWS)]
        return torch.cat(h)[order.argsort()]

    def _read(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        symbols = symbols[:, : int(lengths.max())]
        own = Padded(symbols, lengths).own()
        h = self.symbols(symbols) + self.positions[:, : symbols.shape[1]]
        return Tokens(through(self.blocks, self.norm, h, seen(own))[-1], own).mean()


def normalised(x: Graph) -> Tensor:
    """(B, N, N): D^-1/2 (A + I) D^-1/2, D = degree + 1 (Kipf and Welling 2017, sec. 2); 0 where padding lies."""
    root = (x.degree + 1).rsqrt() * x.own()
    loops = torch.eye(x.nodes.shape[1], device=root.device)
    return root.unsqueeze(2) * (x.adjacency + loops) * root.unsqueeze(1)


def alike(rows: Tensor) -> tuple[Tensor, Tensor]:
    """rows (M, T) of whole numbers -> where each distinct row stands first (U,), and which of them each row is (M,).

    Rows are told apart by a weighted sum modulo 2^64, the weights odd and fixed; should two rows share one, by all numbers.
    """
    _, inverse = torch.unique((rows * weights(rows.shape[1]).to(rows.device)).sum(1), return_inverse=True)
    first = _first(inverse)
    if not torch.equal(rows[first][inverse], rows):
        _, inverse = torch.unique(rows, dim=0, return_inverse=True)
        first = _first(inverse)
    return first, inverse


def weights(count: int) -> Tensor:
    """(count,) int64: odd numbers that look drawn."""
    mixed = torch.arange(1, count + 1) * -0x61C8864680B583EB
    return (mixed ^ (mixed >> 29)) * -0x4B47D0C5A06A2C07 | 1


def _first(inverse: Tensor) -> Tensor:
    """inverse (M,) of 0 .. U-1 -> (U,): the first place of each."""
    count = int(inverse.max()) + 1 if len(inverse) else 0
    places = torch.arange(len(inverse), device=inverse.device)
    return inverse.new_full((count,), len(inverse)).scatter_reduce_(0, inverse, places, "amin")
