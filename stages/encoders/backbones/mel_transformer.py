"""A transformer over the frames of a spectrogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Input, Padded, Tokens, tensor
from stages.encoders.core.transformer import Block, initialise, seen, sinusoids, through


@part
class MelTransformer(TokenBackbone):
    """x (B, C, F, T), or `Padded` of it -> N = ceil(T / stride) tokens (B, N, dim); h (B, dim), the mean of an item's own.

    As HuBERT's encoder (Hsu et al. 2021, sec. III-C), small, over mel bands in place of its convolutions over samples: one
    convolution of `kernel` frames at steps of `stride`, layer norm, a linear map, then `depth` pre-norm blocks. Sines and
    cosines of the position are added by `encode`, not by `embed`: a token that a masked objective exchanges keeps its place.
    With the usual hop of 10 ms a stride of 2 makes tokens of 20 ms, as HuBERT has them.

    hidden: one (B, N, dim) per block, the last one after the layer norm. Padding is not attended to.
    Raises ContractError for x that is no spectrogram, UserError where dim is no even multiple of heads, or kernel is even or
    less than stride.
    """

    heeds_length = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        kernel: int = 3,
        stride: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 3:
            raise ContractError(f"backbone `mel_transformer` takes (C, F, T), the front end gives {shape}", do="use log_mel")
        if dim % heads or dim % 2:
            raise UserError(f"dim {dim} must be even and a multiple of heads ({heads})", where="backbone mel_transformer")
        if not 1 <= stride <= kernel or not kernel % 2:
            raise UserError(f"kernel {kernel} must be odd and no less than stride {stride}", where="backbone mel_transformer")
        self.width, self.kernel, self.stride = dim, kernel, stride
        self.convolution = nn.Conv1d(shape[0] * shape[1], dim, kernel, stride, padding=kernel // 2)
        self.norm0, self.project = nn.LayerNorm(dim), nn.Linear(dim, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, int(dim * mlp_ratio), dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        initialise(self)

    def embed(self, x: Input) -> Tokens:
        """x (B, C, F, T) -> tokens (B, N, dim) without their positions."""
        values = tensor(x)
        h = F.gelu(self.convolution(values.flatten(1, 2))).transpose(1, 2)
        own = None
        if isinstance(x, Padded):  # exactly: a stretch of the frames, as x.own(N) takes it, is a little shorter than a stride
            own = torch.arange(h.shape[1], device=h.device) < (-(-x.lengths // self.stride)).unsqueeze(1)
        return Tokens(self.project(self.norm0(h)), own)

    def encode(self, tokens: Tokens) -> list[Tensor]:
        h, position = tokens.h, tokens.position
        if position is None:
            position = torch.arange(h.shape[1], device=h.device)
        h = h + sinusoids(position, self.width).to(h.dtype)
        return through(self.blocks, self.norm, h, seen(tokens.own))
