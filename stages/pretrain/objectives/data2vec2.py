"""data2vec 2.0: from a few visible tokens, foretell what a teacher makes of the hidden ones; of pictures, speech and text."""

from __future__ import annotations

import copy
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Tokens, pooled
from stages.encoders.core.transformer import initialise
from stages.pretrain.core.distributed import balance
from stages.pretrain.core.objective import Batch, Objective, Still, follow
from stages.pretrain.core.precision import full_precision
from stages.views.core import random
from stages.views.core.masks import inverse_blocks

_WHERE = "objective data2vec2"
_MASKS, _NOISE = 0x643276, 0x6E6F69  # name the draws
_EPSILON = 1e-5


@part
class Data2Vec2(Objective):
    """Baevski, Babu, Hsu and Auli 2022, "Efficient self-supervised learning with contextualized target representations for
    vision, speech and language", sec. 3, over the tokens (B, N, D) of any `TokenBackbone` made of `blocks`.

    Targets (B, N, D): the mean over the teacher's last `top` blocks (None: all) of what their MLPs give before the sum
    (`source: ffn`; block: the blocks' outputs), each feature normed over the item's own tokens (`norm: instance`) or each token
    over its features (`layer`); with `norm_targets` each token's mean is layer-normed too. The teacher sees the whole input
    once and serves `masks` masks of it. It averages the encoder with a momentum that goes linearly from momentum[0] to
    momentum[1] over `anneal` steps (None: all) and then stays.

    The encoder sees the visible tokens alone: a share 1 - `hidden` of the item's own, in blocks of `side` tokens (pictures:
    side x side; see stages/views/core/masks.py). Its outputs go back to their places, noise of deviation `noise` fills the
    others, and a decoder foretells the targets. visible_only False, an ablation: a learnt token with its place stands for each
    hidden one, and the encoder works on all N.

    total = MSE over hidden tokens and features + global_weight MSE of a linear map of the class token (without one: of the mean
    over the visible tokens) to the mean target over the item. Also logged: global; spread and predicted_spread, the mean
    deviation of a feature of targets and predictions over the hidden tokens; visible, the share of own tokens that are.
    What is trained is exported, not the teacher. The defaults are the authors' for pictures.

    Raises ContractError for a backbone without tokens or blocks, UserError for arguments out of range and several views.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        masks: int = 16,
        hidden: float = 0.8,
        side: int = 3,
        top: int | None = None,
        source: Literal["ffn", "block"] = "ffn",
        norm: Literal["instance", "layer"] = "instance",
        norm_targets: bool = True,
        momentum: tuple[float, float] = (0.9998, 0.99999),
        anneal: int | None = None,
        visible_only: bool = True,
        noise: float = 0.01,
        global_weight: float = 0.01,
        decoder_dim: int = 768,
        decoder_layers: int = 6,
        decoder_kernel: int = 3,
        decoder_groups: int = 16,
    ) -> None:
        super().__init__()
        blocks = getattr(encoder.backbone, "blocks", None)
        if not isinstance(encoder.backbone, TokenBackbone) or not isinstance(blocks, nn.ModuleList):
            raise ContractError(
                f"backbone {type(encoder.backbone).__name__} has no tokens between its halves",
                where=_WHERE,
                do="use vit, mel_transformer, wav2vec2 or text_transformer",
            )
        if masks < 1 or not 0 < hidden < 1 or side < 1 or noise < 0 or global_weight < 0:
            raise UserError(
                "masks and side are 1 or more, hidden a share between 0 and 1, noise and global_weight not below 0",
                where=_WHERE,
            )
        if not all(0 <= m <= 1 for m in momentum) or (anneal is not None and anneal < 1):
            raise UserError(f"momentum {momentum} lies between 0 and 1, anneal at 1 step or more", where=_WHERE)
        if top is not None and not 1 <= top <= len(blocks):
            raise UserError(f"top {top} of {len(blocks)} blocks", where=_WHERE, do=f"choose 1 to {len(blocks)}")
        self.masks, self.hidden, self.side, self.top = masks, hidden, side, len(blocks) if top is None else top
        self.source, self.norm, self.norm_targets = source, norm, norm_targets
        self.momentum, self.anneal, self.noise, self.global_weight = momentum, anneal, noise, global_weight
        grid = getattr(encoder.backbone, "grid", None)
        self.decoder = Decoder(encoder.width, grid, decoder_dim, decoder_layers, decoder_kernel, decoder_groups)
        self.glance = nn.Linear(encoder.width, encoder.width) if global_weight else None
        self.mask = None if visible_only else nn.Parameter(torch.empty(encoder.width).normal_(0, 0.02))
        if self.glance is not None:
            initialise(self.glance)
        self.teacher = Still(copy.deepcopy(encoder))

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if len(batch.views) != 1:
            raise UserError(f"data2vec2 takes one view, not {len(batch.views)}", where=_WHERE, do="choose the views `none`")
        x = encoder.prepared(batch.views[0])
        tokens, grid = backbone(encoder).embed(x), self.decoder.grid
        if grid is not None and tokens.h.shape[1] != grid[0] * grid[1]:
            raise ContractError(
                f"a view has {tokens.h.shape[1]} patches, the encoder's grid {grid[0]} x {grid[1]}",
                where=_WHERE,
                do="choose views that keep the picture's height and width",
            )
        own = torch.ones(tokens.h.shape[:2], dtype=torch.bool, device=tokens.h.device) if tokens.own is None else tokens.own
        wanted = self.wanted(x, own)
        own = own.repeat_interleave(self.masks, 0)  # item by item, all its masks after one another, from here on
        visible, noise = self.draw(batch, own)
        many = Tokens(tokens.h.repeat_interleave(self.masks, 0), None if tokens.own is None else own)
        h, glance = self.seen(encoder, many, visible)
        full = h if self.mask is not None else torch.where(visible.unsqueeze(-1), h, noise.to(h.dtype))
        predicted = self.decoder(full, own)
        asked = own & ~visible
        wanted_many = wanted.repeat_interleave(self.masks, 0)
        terms = {"total": error(predicted[asked], wanted_many[asked]) * balance(asked.sum())}
        if self.glance is not None:
            overall = pooled(wanted_many, own)
            terms["global"] = error(self.glance(glance), overall)
            terms["total"] = terms["total"] + self.global_weight * terms["global"]
        terms["spread"], terms["predicted_spread"] = spread(wanted_many[asked]), spread(predicted.detach()[asked])
        return terms | {"visible": visible.sum() / own.sum()}

    def draw(self, batch: Batch, own: Tensor) -> tuple[Tensor, Tensor]:
        """own (B M, N) -> what is visible (B M, N) bool and the decoder's noise (B M, N, D); they follow from the key alone."""
        key, number = batch.key, torch.arange(self.masks, device=own.device)
        states = random.stream(key.seed, key.epoch, key.sample.unsqueeze(1), number).flatten()
        grid = self.decoder.grid or (1, own.shape[1])
        visible = inverse_blocks(random.stream(states, _MASKS), grid, hidden=self.hidden, side=self.side, own=own)
        width = self.decoder.out.out_features
        if self.mask is not None or not self.noise:
            return visible, torch.zeros(*own.shape, width, device=own.device)
        drawn = random.normal(random.stream(states, _NOISE), own.shape[1] * width)
        return visible, self.noise * drawn.view(*own.shape, width)

    def seen(self, encoder: Encoder, tokens: Tokens, visible: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's outputs at the places (S, N, D) of its tokens, 0 where it was given none, and its glance (S, D).

        Without the mask token it is given the visible ones alone, V of them; where items differ, shorter ones are padded.
        """
        net = backbone(encoder)
        if self.mask is not None:
            place = placed(net, tokens.h.shape[1])
            hidden = torch.where(visible.unsqueeze(-1), tokens.h, (self.mask + place).to(tokens.h.dtype))
            last, first = through(net, Tokens(hidden, tokens.own))
            return last, pooled(last, visible) if first is None else first
        count = visible.sum(1)
        most = int(count.max())
        index = (~visible).byte().argsort(dim=1, stable=True)[:, :most]
        kept = None if tokens.own is None else visible.gather(1, index)
        last, first = through(net, Tokens(tokens.at(index).h, kept, index))
        last = last if kept is None else last * kept.unsqueeze(-1)
        whole = torch.zeros_like(tokens.h).scatter(1, index.unsqueeze(-1).expand_as(last), last.to(tokens.h.dtype))
        return whole, pooled(last, kept) if first is None else first

    @torch.no_grad()
    def wanted(self, x: Any, own: Tensor) -> Tensor:
        """The targets (B, N, D) of what the encoder prepared of a view."""
        net = backbone(cast(Encoder, self.teacher.module))
        tokens = net.embed(x)
        layers = ffn_outputs(net, tokens) if self.source == "ffn" else net.encode(tokens)
        return targets(torch.stack(layers[-self.top :]), own, norm=self.norm, norm_targets=self.norm_targets)

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        follow(self.teacher.module, encoder, momentum_of(step, self.momentum, steps if self.anneal is None else self.anneal))


class Decoder(nn.Module):
    """h (S, N, width), noise where tokens are hidden -> predictions (S, N, width) (Baevski et al. 2022, sec. 3 and app. A).

    `layers` times: a convolution of `kernel` tokens in `groups` to `dim` features, over the grid of a picture (kernel x
    kernel) or the sequence; layer norm without weights; GELU; what came in is added where it has as many features. A linear map
    to `width` ends it. Places that are not an item's own are 0 for every convolution. Raises UserError.
    """

    def __init__(self, width: int, grid: tuple[int, int] | None, dim: int, layers: int, kernel: int, groups: int) -> None:
        super().__init__()
        if layers < 1 or kernel < 1 or not kernel % 2 or width % groups or dim % groups:
            raise UserError(
                f"decoder_layers {layers} is 1 or more, decoder_kernel {kernel} odd, and decoder_groups {groups} divides "
                f"decoder_dim {dim} and the encoder's width {width}",
                where=_WHERE,
            )
        self.grid = grid
        convolution = nn.Conv1d if grid is None else nn.Conv2d
        self.layers = nn.ModuleList(
            convolution(width if i == 0 else dim, dim, kernel, padding=kernel // 2, groups=groups) for i in range(layers)
        )
        self.out = nn.Linear(dim, width)
        initialise(self.out)

    def forward(self, h: Tensor, own: Tensor) -> Tensor:
        shape = (h.shape[1],) if self.grid is None else self.grid
        within = own.unsqueeze(-1)
        h = h * within
        for convolution in self.layers:
            new = convolution(h.transpose(1, 2).unflatten(2, shape)).flatten(2).transpose(1, 2)
            new = F.gelu(F.layer_norm(new, new.shape[-1:], eps=_EPSILON)) * within
            h = h + new if new.shape == h.shape else new
        found: Tensor = self.out(h)
        return found


def backbone(encoder: Encoder) -> TokenBackbone:
    """The encoder's backbone, whose type the objective's construction has checked."""
    return cast(TokenBackbone, encoder.backbone)


def through(net: TokenBackbone, tokens: Tokens) -> tuple[Tensor, Tensor | None]:
    """The last layer (S, V, D), and the class token (S, D) of a backbone that has one."""
    if getattr(net, "cls", None) is None:
        return net.encode(tokens)[-1], None
    last = cast(Any, net).layers(tokens)[-1]
    return last[:, 1:], last[:, 0]


def placed(net: TokenBackbone, n: int) -> Tensor:
    """What `embed` adds for the places of n tokens, (1, n, D); 0 where they are added later."""
    positions = getattr(net, "positions", None)
    return (
        positions[:, :n]
        if isinstance(positions, Tensor)
        else torch.zeros(1, n, net.width, device=next(net.parameters()).device)
    )


def ffn_outputs(net: TokenBackbone, tokens: Tokens) -> list[Tensor]:
    """What each block's MLP gives for each token, (B, N, D), before it is added; without class tokens, which come first."""
    found: list[Tensor] = []
    hooks = [
        cast(Any, block).mlp.register_forward_hook(lambda _module, _given, out: found.append(out))
        for block in cast(nn.ModuleList, net.blocks)
    ]
    try:
        net.encode(tokens)
    finally:
        for hook in hooks:
            hook.remove()
    return [out[:, -tokens.h.shape[1] :] for out in found]


@full_precision
def targets(layers: Tensor, own: Tensor, *, norm: str, norm_targets: bool) -> Tensor:
    """layers (K, B, N, D) -> (B, N, D): the mean of the K normed layers, layer-normed again with `norm_targets`.

    instance: (h - mean) / sqrt(variance + 1e-5) of each feature over an item's own tokens; layer: of each token over D.
    Places that are not the item's own, own (B, N) bool, are 0.
    """
    weight = own.unsqueeze(-1).to(layers.dtype)
    if norm == "instance":
        n = weight.sum(1, keepdim=True)
        mean = (layers * weight).sum(2, keepdim=True) / n
        variance = ((layers - mean).square() * weight).sum(2, keepdim=True) / n
        layers = (layers - mean) * (variance + _EPSILON).rsqrt()
    else:
        layers = F.layer_norm(layers, layers.shape[-1:], eps=_EPSILON)
    found = layers.mean(0)
    if norm_targets:
        found = F.layer_norm(found, found.shape[-1:], eps=_EPSILON)
    return found * weight


@full_precision
def error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Scalar: the mean squared difference of two tensors (T, D); 0 where T is 0."""
    return (predicted - wanted).square().sum() / max(1, wanted.numel())


@full_precision
def spread(h: Tensor) -> Tensor:
    """h (T, D) -> scalar: the mean over D of the standard deviation over T; 0 where T is 0."""
    return h.std(0, correction=0).mean() if len(h) else h.new_zeros(())


def momentum_of(step: int, momentum: tuple[float, float], anneal: int) -> float:
    """tau of step 1, 2, ...: from momentum[0] linearly to momentum[1], which step anneal + 1 and all after it have (sec. 3)."""
    start, end = momentum
    return start + (end - start) * min(1.0, (step - 1) / anneal)
