"""Vision transformer for images and spectrograms."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Tokens
from stages.encoders.core.transformer import Block, initialise, through


@part
class ViT(TokenBackbone):
    """x (B, C, H, W) -> h (B, dim): the class token or the mean patch after the last layer norm.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words" (Sec. 3.1, pre-norm blocks; defaults are small, for small
    pictures). Positions: learned, or fixed 2-D sines and cosines (as in MoCo v3, Chen et al. 2021; half of the features for
    each axis); for x of another size they are interpolated (bicubic), as multi-crop needs (DINO, Caron et al. 2021). The
    class token has no position of its own. Weights: normal of std 0.02, cut at two of them; patches: Xavier uniform.

    patch: side of a patch, or its (height, width), in pixels; must divide H and W.
    hidden: one (B, N, dim) per block, N = H / patch * W / patch patches in raster order without the class token; the last one
    after the layer norm. Raises ContractError for x that is no picture or that patches do not tile.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        patch: int | tuple[int, int] = 4,
        dim: int = 192,
        depth: int = 6,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        positions: Literal["learned", "sincos"] = "learned",
        pool: Literal["cls", "mean"] = "cls",
    ) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 3:
            raise ContractError(f"backbone `vit` takes (C, H, W), the front end gives {shape}", do="use mlp or conv1d")
        if dim % heads or (positions == "sincos" and dim % 4):
            raise UserError(f"dim {dim} must be a multiple of heads ({heads}), and of 4 for sincos", where="backbone vit")
        self.width, self.pool = dim, pool
        self.patch = patch if isinstance(patch, tuple) else (patch, patch)
        self.grid = self._grid(shape[1], shape[2])
        self.project = nn.Conv2d(shape[0], dim, self.patch, self.patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim)) if pool == "cls" else None
        self.positions: Tensor
        if positions == "learned":
            self.positions = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], dim))
        else:
            self.register_buffer("positions", sincos_positions(*self.grid, dim)[None], persistent=False)
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        initialise(self)
        nn.init.xavier_uniform_(self.project.weight.view(self.width, -1))
        if self.project.bias is not None:
            nn.init.zeros_(self.project.bias)
        for drawn in (self.cls, self.positions):
            if isinstance(drawn, nn.Parameter):
                nn.init.trunc_normal_(drawn, std=0.02, a=-0.04, b=0.04)

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        if height % self.patch[0] or width % self.patch[1]:
            raise ContractError(
                f"patches of {self.patch[0]} x {self.patch[1]} do not tile pictures of {height} x {width}",
                where="backbone vit",
                do="choose another `patch`, or resize in the front end or the views",
            )
        return height // self.patch[0], width // self.patch[1]

    def embed(self, x: Tensor) -> Tokens:
        """x (B, C, H, W) -> patch tokens (B, N, dim) with their positions added."""
        grid = self._grid(x.shape[2], x.shape[3])
        positions = self.positions
        if grid != self.grid:
            picture = positions.view(1, *self.grid, -1).permute(0, 3, 1, 2)
            picture = F.interpolate(picture, grid, mode="bicubic", align_corners=False)
            positions = picture.flatten(2).transpose(1, 2)
        return Tokens(self.project(x).flatten(2).transpose(1, 2) + positions)

    def layers(self, tokens: Tokens) -> list[Tensor]:
        """Every block's output, class token first if there is one; the last one normed."""
        h = tokens.h
        if self.cls is not None:
            h = torch.cat([self.cls.expand(len(h), -1, -1), h], 1)
        return through(self.blocks, self.norm, h)

    def encode(self, tokens: Tokens) -> list[Tensor]:
        first = 0 if self.cls is None else 1
        return [layer[:, first:] for layer in self.layers(tokens)]

    def forward(self, x: Tensor) -> Tensor:
        last = self.layers(self.embed(x))[-1]
        return last[:, 0] if self.pool == "cls" else last.mean(1)


def sincos_positions(rows: int, columns: int, dim: int) -> Tensor:
    """(rows * columns, dim): [sin(y w), cos(y w), sin(x w), cos(x w)], w_i = 10000^(-4 i / dim), i < dim / 4."""
    frequencies = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) * 4 / dim)
    y, x = torch.meshgrid(torch.arange(rows, dtype=torch.float64), torch.arange(columns, dtype=torch.float64), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (y, x)]
    return torch.cat([f(a) for a in angles for f in (torch.sin, torch.cos)], 1).float()
