"""I-JEPA: from the patches of one context block, predict what a teacher makes of the patches of other blocks."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Input
from stages.encoders.core.transformer import Block, initialise, sinusoids
from stages.pretrain.core.distributed import gather, world
from stages.pretrain.core.objective import Batch, Objective, Still, follow
from stages.pretrain.core.precision import full_precision
from stages.views.core.masks import Blocks, Masks, multiblock, scattered

_EPSILON = 1e-6  # of the layer norms and of pixels' variance


@part
class IJepa(Objective):
    """Assran et al. 2023, "Self-supervised learning from images with a joint-embedding predictive architecture", sec. 3.

    The encoder sees a context of M of the N patches (B, N, D); the predictor, a narrow transformer, is given its outputs and a
    mask token with the position of each target patch, one target block at a time, and gives (B, K, T, D) for K blocks of T
    patches. total: their distance to the targets, averaged over items, blocks, patches and features, and over the views if
    there are several (the paper: one, not augmented in colour).

    targets `latent`: the teacher's outputs for the whole picture, layer-normed without weights; the teacher is an average of
    the encoder whose momentum goes linearly from momentum[0] to momentum[1], and becomes the encoder. [0, 0]: the encoder
    itself without gradients. `pixel`: the patch's own numbers, normalised by its mean and deviation (He et al. 2022, "MAE",
    sec. 3); there is no teacher.
    masks `multiblock`: `blocks` target blocks and a context block less them. `single`: the same with one target block.
    `random`: as many patches as multiblock would have in this batch, scattered, in one set. target_area, context_area: shares
    of the picture; target_ratio: height to width; least: patches that a context should keep (stages/views/core/masks.py).
    loss: smooth_l1 (the authors' code) or l2 (the paper's text).

    Also logged: seen, the share of patches in a context; spread, the mean deviation of a feature of the targets over items and
    patches, 0 where they have collapsed. Raises ContractError for a backbone that has no grid of patches and for views that it
    cuts into another number, UserError for arguments out of range and blocks that leave no context.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        masks: Literal["multiblock", "random", "single"] = "multiblock",
        targets: Literal["latent", "pixel"] = "latent",
        loss: Literal["smooth_l1", "l2"] = "smooth_l1",
        momentum: tuple[float, float] = (0.996, 1.0),
        blocks: int = 4,
        target_area: tuple[float, float] = (0.15, 0.2),
        target_ratio: tuple[float, float] = (0.75, 1.5),
        context_area: tuple[float, float] = (0.85, 1.0),
        least: int = 10,
        predictor_dim: int = 384,
        predictor_depth: int = 12,
        predictor_heads: int = 12,
    ) -> None:
        super().__init__()
        if not all(0 <= m <= 1 for m in momentum):
            raise UserError(f"momentum lies between 0 and 1, not {momentum}", where="objective i_jepa")
        self.grid, self.patch = _patches(encoder)
        self.masks, self.targets, self.loss, self.momentum = masks, targets, loss, momentum
        self.blocks = Blocks(1 if masks == "single" else blocks, target_area, target_ratio, context_area, least)
        out = encoder.width if targets == "latent" else encoder.frontend.shape[0] * self.patch[0] * self.patch[1]
        self.predictor = Predictor(encoder.width, out, self.grid, predictor_dim, predictor_depth, predictor_heads)
        self.teacher = Still(copy.deepcopy(encoder)) if targets == "latent" else None

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        masks = self.draw(batch)
        terms = [self._terms(encoder, view, masks) for view in batch.views]
        means = {name: torch.stack([t[name] for t in terms]).mean() for name in terms[0]}
        seen = masks.context.shape[1] / (self.grid[0] * self.grid[1])
        return {**means, "seen": torch.tensor(seen, device=means["total"].device)}

    def draw(self, batch: Batch) -> Masks:
        """The batch's masks; they follow from its key alone. Their sides are the whole batch's, so each rank draws for all."""
        key = replace(batch.key, sample=gather(batch.sample))
        masks = multiblock(key, self.grid, self.blocks)
        masks = scattered(key, self.grid, masks) if self.masks == "random" else masks
        mine = world().share(torch.arange(len(key.sample), device=batch.sample.device))
        return Masks(masks.context[mine], masks.targets[mine])

    def _terms(self, encoder: Encoder, view: Input, masks: Masks) -> dict[str, Tensor]:
        backbone = encoder.backbone
        assert isinstance(backbone, TokenBackbone)
        x = encoder.prepared(view)
        tokens = backbone.embed(x)
        if tokens.h.shape[1] != self.grid[0] * self.grid[1]:
            raise ContractError(
                f"a view has {tokens.h.shape[1]} patches, the encoder's grid {self.grid[0]} x {self.grid[1]}",
                where="objective i_jepa",
                do="choose views that keep the picture's height and width",
            )
        predicted = self.predictor(backbone.encode(tokens.at(masks.context))[-1], masks)
        wanted = at(self.wanted(view, x), masks.targets)
        return {"total": distance(predicted, wanted, kind=self.loss), "spread": spread(wanted)}

    @torch.no_grad()
    def wanted(self, view: Input, x: Tensor) -> Tensor:
        """The targets of all patches, (B, N, D) or (B, N, C * patch); x: the view, standardised."""
        if self.teacher is None:
            return pixels(x, self.patch)
        teacher: Encoder = self.teacher.module  # type: ignore[assignment]
        return normed(teacher.hidden(view)[-1])

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        """step: 1 for the first. The momentum of step s of S is m_0 + (m_1 - m_0) (s - 1) / S, as in the authors' code."""
        if self.teacher is not None:
            start, end = self.momentum
            follow(self.teacher.module, encoder, start + (end - start) * (step - 1) / steps)

    def exported(self, encoder: Encoder) -> Encoder:
        """The teacher, which is what the paper evaluates; without one the encoder."""
        return encoder if self.teacher is None else self.teacher.module  # type: ignore[return-value]


class Predictor(nn.Module):
    """The encoder's outputs at M context patches, (B, M, width) -> predictions (B, K, T, out) at K sets of T target patches.

    Assran et al. 2023, sec. 3, "Prediction": a linear map to `dim`, fixed 2-D positions (half of the features for each axis),
    `depth` pre-norm blocks over context and mask tokens of one set at a time, a layer norm and a linear map to `out`.
    """

    positions: Tensor

    def __init__(self, width: int, out: int, grid: tuple[int, int], dim: int, depth: int, heads: int) -> None:
        super().__init__()
        if dim % heads or dim % 4 or depth < 1:
            raise UserError(
                f"predictor_dim {dim} must be a multiple of predictor_heads ({heads}) and of 4, predictor_depth 1 or more",
                where="objective i_jepa",
            )
        self.map = nn.Linear(width, dim)
        self.mask = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(Block(dim, heads, 4 * dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.out = nn.Linear(dim, out)
        place = torch.arange(grid[0] * grid[1])
        halves = [sinusoids(axis, dim // 2) for axis in (place // grid[1], place % grid[1])]
        self.register_buffer("positions", torch.cat(halves, 1), persistent=False)  # (N, dim)
        initialise(self)
        nn.init.trunc_normal_(self.mask, std=0.02, a=-0.04, b=0.04)

    def forward(self, h: Tensor, masks: Masks) -> Tensor:
        b, sets, patches = masks.targets.shape
        context = self.map(h) + self.positions[masks.context]
        asked = self.mask + self.positions[masks.targets]  # (B, K, T, dim)
        context = context.unsqueeze(1).expand(-1, sets, -1, -1)
        t = torch.cat([context, asked], 2).flatten(0, 1)  # (B K, M + T, dim)
        for block in self.blocks:
            t = block(t)
        found: Tensor = self.out(self.norm(t[:, -patches:]))
        return found.view(b, sets, patches, -1)


def at(h: Tensor, index: Tensor) -> Tensor:
    """h (B, N, D) at index (B, K, T) -> (B, K, T, D)."""
    return h[torch.arange(len(h), device=h.device)[:, None, None], index]


@full_precision
def distance(predicted: Tensor, wanted: Tensor, *, kind: str) -> Tensor:
    """Scalar mean over all elements of two tensors (..., D), d their difference.

    l2: d^2. smooth_l1: d^2 / 2 where |d| < 1, |d| - 1/2 elsewhere (Girshick 2015, "Fast R-CNN", eq. 3).
    """
    return F.mse_loss(predicted, wanted) if kind == "l2" else F.smooth_l1_loss(predicted, wanted)


@full_precision
def normed(h: Tensor) -> Tensor:
    """h (..., D) -> (h - mean) / sqrt(variance + 1e-6) over D."""
    return F.layer_norm(h, h.shape[-1:], eps=_EPSILON)


@full_precision
def pixels(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """x (B, C, H, W) -> (B, N, C * height * width of a patch), each patch less its mean, by its deviation (over n - 1)."""
    pieces = F.unfold(x, patch, stride=patch).transpose(1, 2)
    return (pieces - pieces.mean(-1, keepdim=True)) / (pieces.var(-1, keepdim=True) + _EPSILON).sqrt()


@full_precision
def spread(wanted: Tensor) -> Tensor:
    """wanted (B, K, T, D) -> scalar: the mean over D of the standard deviation over all else."""
    return wanted.flatten(0, -2).std(0, correction=0).mean()


def _patches(encoder: Encoder) -> tuple[tuple[int, int], tuple[int, int]]:
    """The grid (rows, columns) of an encoder's patches, and a patch's (height, width). Raises ContractError."""
    backbone = encoder.backbone
    grid, patch = getattr(backbone, "grid", None), getattr(backbone, "patch", None)
    if not isinstance(backbone, TokenBackbone) or not isinstance(grid, tuple) or not isinstance(patch, tuple):
        raise ContractError(
            f"objective `i_jepa` masks a grid of patches, which backbone {type(backbone).__name__} does not have",
            do="use backbone vit",
        )
    return grid, patch
