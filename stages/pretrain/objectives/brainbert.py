"""Masked spectrogram reconstruction with extra weight on rare, high-energy cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Padded
from stages.pretrain.core.distributed import balance
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision
from stages.views.core import random

_TIME, _FREQUENCY = 0x74696D65, 0x66726571  # name the streams of the two kinds of masks


@part
class BrainBert(Objective):
    """BrainBERT (Wang et al. 2023, sec. 3): the cells of a spectrogram x (B, 1, F, T) that are masked, from all the others.

    Masks: each frame begins a run of 1 to `frames` frames with probability `start`, each frequency a run of 1 to `bins`
    frequencies likewise; lengths are equally likely, and where runs meet the later one holds. Of the runs a share `replaced` is
    filled with a stretch of the same item from elsewhere, a share `kept` is left as it is, the others become 0. An item's masks
    depend on (seed, epoch, item) alone. The embedded frames of the masked x go through the transformer; a head (linear, GELU,
    layer norm, linear) gives each frame's F numbers. x is as the encoder standardises it.

    total: `content_aware_l1`, alpha = `alpha`, cells of |x| > `threshold`. l1, content: its terms. covered: the share of masked
    cells. The shares 0.1 and 0.1 are those of the masked acoustic models that the paper follows (Liu et al. 2021, "TERA").

    Raises ContractError for a backbone without a token for each frame of a spectrogram, UserError for arguments out of their
    range, several views, or items of unequal length.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        start: float = 0.05,
        frames: int = 5,
        bins: int = 2,
        replaced: float = 0.1,
        kept: float = 0.1,
        alpha: float = 2.0,
        threshold: float = 1.0,
    ) -> None:
        super().__init__()
        shape = encoder.frontend.shape
        if not isinstance(encoder.backbone, TokenBackbone) or len(shape) != 3 or shape[0] != 1:
            raise ContractError(
                "brainbert needs a backbone of tokens over a spectrogram of one channel",
                do="use spectrogram_transformer with the front end spectrogram",
            )
        if not 0 < start <= 1 or not 1 <= frames <= shape[2] or not 1 <= bins <= shape[1]:
            raise UserError("start is a part of 1, runs are 1 to the spectrogram's own sides", where="objective brainbert")
        if min(replaced, kept) < 0 or replaced + kept > 1 or alpha < 0 or threshold < 0:
            raise UserError(
                "replaced and kept are shares of 1 together, alpha and threshold 0 or more", where="objective brainbert"
            )
        self.start, self.frames, self.bins, self.replaced, self.kept = start, frames, bins, replaced, kept
        self.alpha, self.threshold = alpha, threshold
        width = encoder.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, shape[1]))

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if len(batch.views) != 1 or isinstance(batch.views[0], Padded):
            raise UserError("brainbert takes one view of items of one length", where="objective brainbert", do="use views none")
        backbone = encoder.backbone
        assert isinstance(backbone, TokenBackbone)
        x = encoder.prepared(batch.views[0])[:, 0]  # (B, F, T)
        state = random.stream(batch.key.seed, batch.key.epoch, batch.sample)
        changed, mask = self.masked(x, state)
        h = backbone.encode(backbone.embed(changed[:, None]))[-1]
        if h.shape[1] != x.shape[2]:
            raise ContractError(
                f"{h.shape[1]} tokens for {x.shape[2]} frames", where="objective brainbert", do="use a backbone of stride 1"
            )
        l1, content = content_aware_l1(self.head(h).transpose(1, 2), x, mask, threshold=self.threshold)
        return {
            "total": l1 + self.alpha * content,
            "l1": l1.detach(),
            "content": content.detach(),
            "covered": mask.float().mean(),
        }

    def masked(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, F, T), streams (B,) -> x with its masked cells changed, and where they are (B, F, T) bool."""
        time = runs(random.stream(state, _TIME), x.shape[2], start=self.start, longest=self.frames)
        frequency = runs(random.stream(state, _FREQUENCY), x.shape[1], start=self.start, longest=self.bins)
        changed = changed_along(x, time, replaced=self.replaced, kept=self.kept)
        turned = changed_along(changed.transpose(1, 2), frequency, replaced=self.replaced, kept=self.kept)
        return turned.transpose(1, 2), time.hidden[:, None, :] | frequency.hidden[:, :, None]


@dataclass(frozen=True)
class Runs:
    """Masked runs of N places: hidden (B, N) bool; of each place's run: lot (B, N) in [0, 1), from (B, N), what may fill it."""

    hidden: Tensor
    lot: Tensor
    source: Tensor


def runs(state: Tensor, n: int, *, start: float, longest: int) -> Runs:
    """state (B,): streams. Each of n places begins a run with probability `start`; lengths 1 to `longest` are equally likely.

    Runs are cut at the end; where they meet, the later one holds. source: the places of a run moved round by one number, so
    that it is filled with a stretch from elsewhere (no place fills itself).
    """
    draw = random.uniform(state, 4 * n).view(len(state), 4, n)
    begins, lengths = draw[:, 0] < start, 1 + (draw[:, 1] * longest).long()
    shift = 1 + (draw[:, 3] * (n - 1)).long()
    place = torch.arange(n, device=state.device)
    run = torch.full((len(state), n), -1, device=state.device)
    for after in range(min(longest, n) - 1, -1, -1):  # the nearest start is written last
        reaches = torch.nn.functional.pad((begins & (lengths > after))[:, : n - after], (after, 0))
        run = torch.where(reaches, place - after, run)
    chosen = run.clamp_min(0)
    return Runs(run >= 0, draw[:, 2].gather(1, chosen), (place + shift.gather(1, chosen)) % n)


def changed_along(x: Tensor, found: Runs, *, replaced: float, kept: float) -> Tensor:
    """x (B, C, N) with its hidden places filled from their source (lot < replaced), kept (the next share), or 0."""
    filled = x.gather(2, found.source[:, None].expand_as(x))
    replace = (found.lot < replaced)[:, None]
    keep = (~found.hidden | ((found.lot >= replaced) & (found.lot < replaced + kept)))[:, None]
    return torch.where(keep, x, torch.where(replace, filled, 0.0))


@full_precision
def content_aware_l1(prediction: Tensor, target: Tensor, mask: Tensor, *, threshold: float) -> tuple[Tensor, Tensor]:
    """(B, F, T) each, mask bool -> the mean of |prediction - target| over masked cells, and over those of |target| > threshold.

    A mean over no cells is 0. Wang et al. 2023, "BrainBERT", sec. 3: the loss is the first + alpha times the second.
    """
    error = (prediction - target).abs()
    rare = mask & (target.abs() > threshold)
    return _mean(error, mask), _mean(error, rare)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Over the cells of all ranks, once their means are averaged."""
    count = where.sum()
    return torch.where(where, values, 0.0).sum() / count.clamp_min(1) * balance(count)
