"""A transformer over the frames of a spectrogram, whose embedding is that of the frames in the middle."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Tokens
from stages.encoders.core.transformer import Block, initialise, sinusoids, through


@part
class SpectrogramTransformer(TokenBackbone):
    """x (B, 1, F, T) -> T tokens (B, T, dim); h (B, dim), the mean of the `centre` tokens in the middle of the window.

    Wang et al. 2023, "BrainBERT", sec. 3, whose sizes are the defaults: a linear map of each frame's F numbers, sines and
    cosines of its position added, layer norm, then `depth` post-norm blocks. embed gives the linear map alone; encode adds the
    positions. Downstream the paper reads the middle of its window (sec. 4); as many tokens lie before as after, one more before
    where the numbers are of unequal parity. centre: null: the mean over all tokens.

    hidden: one (B, T, dim) per block. Raises ContractError for x that is no spectrogram of one channel, UserError where dim is
    no even multiple of heads, or `centre` is not 1 to T.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int = 768,
        depth: int = 6,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        centre: int | None = 10,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 3 or shape[0] != 1:
            raise ContractError(
                f"backbone `spectrogram_transformer` takes (1, F, T), the front end gives {shape}",
                do="use spectrogram or log_mel",
            )
        if dim % heads or dim % 2:
            raise UserError(
                f"dim {dim} must be even and a multiple of heads ({heads})", where="backbone spectrogram_transformer"
            )
        if centre is not None and not 1 <= centre <= shape[2]:
            raise UserError(f"centre {centre} is not 1 to {shape[2]} frames", where="backbone spectrogram_transformer")
        self.width, self.centre = dim, centre
        self.project = nn.Linear(shape[1], dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(dim, heads, int(dim * mlp_ratio), norm="post", eps=1e-5, dropout=dropout) for _ in range(depth)
        )
        initialise(self)

    def embed(self, x: Tensor) -> Tokens:
        return Tokens(self.project(x[:, 0].transpose(1, 2)))

    def encode(self, tokens: Tokens) -> list[Tensor]:
        h, position = tokens.h, tokens.position
        if position is None:
            position = torch.arange(h.shape[1], device=h.device)
        h = self.dropout(self.norm(h + sinusoids(position, self.width).to(h.dtype)))
        return through(self.blocks, nn.Identity(), h)  # post-norm blocks end in their own norm

    def forward(self, x: Tensor) -> Tensor:
        h = self.encode(self.embed(x))[-1]
        if self.centre is None:
            return h.mean(1)
        first = (h.shape[1] - self.centre + 1) // 2
        return h[:, first : first + self.centre].mean(1)
