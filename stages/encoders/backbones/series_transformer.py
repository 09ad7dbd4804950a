"""Transformer for series: a token for each run of steps."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Input, Padded, Tokens, tensor
from stages.encoders.core.transformer import Block, initialise, seen, sinusoids, through


@part
class SeriesTransformer(TokenBackbone):
    """x (B, C, T), or `Padded` -> h (B, dim): the class token or the mean token after the last layer norm.

    A token is a linear map of `patch` steps of all channels: time steps, EEG samples, or subcarriers with all antennas. Blocks
    are pre-norm (Dosovitskiy et al. 2021, sec. 3.1); depth 1, one head and 384 features are those of WiT and SWiT (Salihu,
    Schwarz and Rupp 2023, with patches of one subcarrier). Positions: learned, or fixed sines and cosines (Vaswani et al. 2017,
    sec. 3.5); for x of another length the learned ones are interpolated linearly, the fixed ones go on. The class token has no
    position of its own. Weights: normal of std 0.02, cut at two of them; patches: Xavier uniform.

    hidden: one (B, N, dim) per block, N = T / patch, without the class token; the last one after the layer norm.
    Raises ContractError for x that is no series or that patches do not tile.
    """

    heeds_length = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        patch: int = 1,
        dim: int = 384,
        depth: int = 1,
        heads: int = 1,
        mlp_ratio: float = 4.0,
        positions: Literal["learned", "sinusoids"] = "learned",
        pool: Literal["cls", "mean"] = "cls",
    ) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 2:
            raise ContractError(f"backbone `series_transformer` takes (C, T), the front end gives {shape}", do="use vit or mlp")
        if patch < 1 or depth < 1 or dim % heads or dim % 2:
            raise UserError(
                f"patch {patch} and depth {depth} must be 1 or more, dim {dim} even and a multiple of heads ({heads})",
                where="backbone series_transformer",
            )
        self.width, self.patch = dim, patch
        self.pool, self.fixed = pool, positions == "sinusoids"
        count = self._count(shape[1])
        self.project = nn.Conv1d(shape[0], dim, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim)) if pool == "cls" else None
        self.positions = None if self.fixed else nn.Parameter(torch.zeros(1, count, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        initialise(self)
        nn.init.xavier_uniform_(self.project.weight.view(self.width, -1))
        if self.project.bias is not None:
            nn.init.zeros_(self.project.bias)
        for drawn in (self.cls, self.positions):
            if drawn is not None:
                nn.init.trunc_normal_(drawn, std=0.02, a=-0.04, b=0.04)

    def _count(self, steps: int) -> int:
        if steps % self.patch or steps < 1:
            raise ContractError(
                f"patches of {self.patch} steps do not tile series of {steps}",
                where="backbone series_transformer",
                do="choose another `patch`, or cut the series in the front end or the views",
            )
        return steps // self.patch

    def _positions(self, count: int, like: Tensor) -> Tensor:
        """(1, count, dim)."""
        if self.positions is None:
            return sinusoids(torch.arange(count, device=like.device), self.width)[None]
        if self.positions.shape[1] == count:
            return self.positions
        return F.interpolate(self.positions.transpose(1, 2), count, mode="linear", align_corners=False).transpose(1, 2)

    def embed(self, x: Input) -> Tokens:
        """x (B, C, T) -> tokens (B, N, dim) with their positions added."""
        values = tensor(x)
        count = self._count(values.shape[2])
        h = self.project(values).transpose(1, 2)
        return Tokens(h + self._positions(count, h), x.own(count) if isinstance(x, Padded) else None)

    def layers(self, tokens: Tokens) -> list[Tensor]:
        """Every block's output, class token first if there is one; the last one normed."""
        h, own = tokens.h, tokens.own
        if self.cls is not None:
            h = torch.cat([self.cls.expand(len(h), -1, -1), h], 1)
            own = None if own is None else F.pad(own, (1, 0), value=True)
        return through(self.blocks, self.norm, h, seen(own))

    def encode(self, tokens: Tokens) -> list[Tensor]:
        first = 0 if self.cls is None else 1
        return [layer[:, first:] for layer in self.layers(tokens)]

    def forward(self, x: Any) -> Tensor:
        return super().forward(x) if self.cls is None else self.layers(self.embed(x))[-1][:, 0]
