"""wav2vec 2.0: strided convolutions over the waveform, then a transformer over their outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend, TokenBackbone
from stages.encoders.core.inputs import Input, Padded, Tokens, tensor
from stages.encoders.core.transformer import Block, initialise, seen

Count = TypeVar("Count", int, Tensor)


@part
class Wav2Vec2(TokenBackbone):
    """x (B, 1, T) -> h (B, dim), the mean of an item's own frames after the last block.

    Baevski et al. 2020, "wav2vec 2.0", sec. 2 and 4.2; the defaults are BASE at 16 kHz: 20 ms a frame, 12 blocks of 768.
    Feature encoder: convolutions without bias or padding, GELU; the first one's channels are normalised over the item's own
    frames (group norm, a group for each channel). Layer norm and a linear map to `dim` follow; a grouped convolution over
    `position_kernel` frames with weight norm and GELU is added as relative position; layer norm; blocks with norm after sums.
    A frame is an item's own where all samples it sees are; padding is 0 before the positions, and no frame attends to it.

    latents: the feature encoder alone; feature_norm and project: up to `dim`; hide: the learned mask in place of frames.
    dropout: after the projection, before the first block, and in each block. layer_drop: blocks left out in training.
    hidden: one (B, N, dim) per block.
    Raises ContractError for x that is no waveform, UserError for lists of unequal length or numbers that do not divide.
    """

    heeds_length = True

    def __init__(
        self,
        frontend: Frontend,
        *,
        channels: int = 512,
        kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2),
        strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2),
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        inner: int = 3072,
        position_kernel: int = 128,
        position_groups: int = 16,
        dropout: float = 0.1,
        layer_drop: float = 0.05,
    ) -> None:
        super().__init__()
        shape = frontend.shape
        if len(shape) != 2 or shape[0] != 1:
            raise ContractError(f"backbone `wav2vec2` takes (1, T), the front end gives {shape}", do="use frontend waveform")
        if not kernels or len(kernels) != len(strides):
            raise UserError(f"{len(kernels)} kernels and {len(strides)} strides", where="backbone wav2vec2", do="give as many")
        if dim % heads or dim % position_groups:
            raise UserError(
                f"dim {dim} must be a multiple of heads ({heads}) and position_groups ({position_groups})",
                where="backbone wav2vec2",
            )
        self.kernels, self.strides = kernels, strides
        if frames(shape[1], kernels, strides) < 1:
            raise UserError(f"{shape[1]} samples do not fill one frame", where="backbone wav2vec2", do="raise `samples`")
        self.width, self.dropout, self.layer_drop = dim, dropout, layer_drop
        inputs = (1, *[channels] * (len(kernels) - 1))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(i, channels, kernel, stride, bias=False) for i, kernel, stride in zip(inputs, kernels, strides)
        )
        self.channel_norm = ChannelNorm(channels)
        self.feature_norm = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, dim)
        self.mask = nn.Parameter(torch.empty(dim).uniform_())
        self.blocks = nn.ModuleList(Block(dim, heads, inner, norm="post", eps=1e-5, dropout=dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        initialise(self.blocks)
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.weight)  # type: ignore[arg-type]
        self.positions = Positions(dim, position_kernel, position_groups)

    def latents(self, x: Input) -> Tokens:
        """x (B, 1, T) -> the feature encoder's outputs (B, N, channels), not normed."""
        h, lengths = tensor(x), x.lengths if isinstance(x, Padded) else None
        for i, convolution in enumerate(self.convolutions):
            h = convolution(h)
            if i == 0:
                first = None if lengths is None else frames(lengths, self.kernels[:1], self.strides[:1])
                h = self.channel_norm(h, first)
            h = F.gelu(h)
        h = h.transpose(1, 2)
        if lengths is None:
            return Tokens(h)
        count = frames(lengths, self.kernels, self.strides).clamp_min(1).unsqueeze(1)
        return Tokens(h, torch.arange(h.shape[1], device=h.device) < count)

    def project(self, normed: Tensor) -> Tensor:
        """(B, N, channels) after `feature_norm` -> (B, N, dim)."""
        return self._drop(self.projection(normed))

    def embed(self, x: Input) -> Tokens:
        latents = self.latents(x)
        return Tokens(self.project(self.feature_norm(latents.h)), latents.own)

    def hide(self, tokens: Tokens, hidden: Tensor) -> Tokens:
        """The learned mask in place of the tokens where `hidden` (B, N) is True."""
        h = torch.where(hidden.unsqueeze(-1), self.mask.to(tokens.h.dtype), tokens.h)
        return Tokens(h, tokens.own, tokens.position)

    def encode(self, tokens: Tokens) -> list[Tensor]:
        """All frames of each item or some: in the convolution of the positions dropped ones are 0, as padding is."""
        h = tokens.h if tokens.own is None else tokens.h * tokens.own.unsqueeze(-1)
        h = self._drop(self.norm(h + self._placed(h, tokens.position)))
        mask, layers = seen(tokens.own), []
        for block in self.blocks:
            if not (self.training and self.layer_drop and float(torch.rand(())) < self.layer_drop):
                h = block(h, mask)
            layers.append(h)
        return layers

    def _placed(self, h: Tensor, position: Tensor | None) -> Tensor:
        """What the positions add to h (B, N, dim), of frames at `position` (B, N) among all."""
        if position is None:
            return cast(Tensor, self.positions(h))
        index = position.unsqueeze(-1).expand(-1, -1, h.shape[-1])
        whole = h.new_zeros(len(h), int(position.max()) + 1, h.shape[-1]).scatter_add(1, index, h)
        return cast(Tensor, self.positions(whole)).gather(1, index)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


class ChannelNorm(nn.Module):
    """x (B, C, T): each channel of an item gets mean 0 and variance 1 over its first `count` (B,) frames, then scale and shift.

    Group norm of Wu and He 2018 with C groups, blind to padding.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels)), eps

    def forward(self, x: Tensor, count: Tensor | None = None) -> Tensor:
        if count is None:
            return F.group_norm(x, x.shape[1], self.weight, self.bias, self.eps)
        own = (torch.arange(x.shape[2], device=x.device) < count.unsqueeze(1)).unsqueeze(1)  # (B, 1, T)
        n = count.clamp_min(1).view(-1, 1, 1)
        wide = x.float()
        mean = (wide * own).sum(2, keepdim=True) / n
        variance = ((wide - mean).square() * own).sum(2, keepdim=True) / n
        scale = (variance + self.eps).rsqrt() * self.weight.unsqueeze(1)
        return (wide * scale + (self.bias.unsqueeze(1) - mean * scale)).to(x.dtype)


class Positions(nn.Module):
    """h (B, N, dim) -> (B, N, dim): GELU of a grouped convolution over `kernel` frames.

    N is kept: zeros lie beyond the ends, and an even kernel sees one frame more of the past.

    Weight norm over the kernel's positions: weight = gain v / |v|, one gain for each of them (Salimans and Kingma 2016).
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.kernel, self.groups = kernel, groups
        v = torch.empty(dim, dim // groups, kernel).normal_(0, 2 / math.sqrt(kernel * dim))
        self.v, self.gain = nn.Parameter(v), nn.Parameter(v.norm(dim=(0, 1)))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, h: Tensor) -> Tensor:
        weight = self.v * (self.gain / self.v.norm(dim=(0, 1)))
        out = F.conv1d(h.transpose(1, 2), weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        return F.gelu(out[..., : h.shape[1]]).transpose(1, 2)


def frames(samples: Count, kernels: Sequence[int], strides: Sequence[int]) -> Count:
    """How many outputs of the convolutions see none but the first `samples`: (n - kernel) // stride + 1, layer by layer.

    0 or less where they do not fill one.
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples
