"""Pretext classification: which of V known transformations made this view?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision


@part
class Pretext(Objective):
    """The label of view v is v. Li et al. 2021, "CutPaste", eq. 1 (views `cutpaste`); Gidaris et al. 2018 (views `rotation`).

    total: cross entropy of a linear map to `classes` logits on an MLP head of `layers` linear maps, `hidden` (null: as the
    embedding) and `out` wide, each followed by batch norm and ReLU: mean over views and items. accuracy: the share of views
    told right. Raises UserError where the views are not as many as `classes`.
    """

    def __init__(
        self, encoder: Encoder, *, classes: int = 3, hidden: int | None = None, out: int = 128, layers: int = 2
    ) -> None:
        super().__init__()
        if classes < 2 or out < 1 or layers < 1:
            raise UserError("classes must be 2 or more, out and layers 1 or more", where="objective pretext")
        self.projector = Projector("mlp", encoder.width, hidden or encoder.width, out, layers)
        self.classifier = nn.Sequential(nn.BatchNorm1d(out), nn.ReLU(inplace=True), nn.Linear(out, classes))
        self.classes = classes

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "pretext")
        if len(batch.views) != self.classes:
            raise UserError(
                f"there are {len(batch.views)} views for {self.classes} classes",
                where="objective pretext",
                do=f"write `classes: {len(batch.views)}`, or choose other views",
            )
        logits = torch.stack(embed(encoder, nn.Sequential(self.projector, self.classifier), batch.views))
        return {"total": told_apart(logits), "accuracy": told_right(logits.detach())}


@full_precision
def told_apart(logits: Tensor) -> Tensor:
    """Scalar: mean over views v and items of -log softmax(logits[v])[v]; logits (V, N, V). Li et al. 2021, eq. 1."""
    label = torch.arange(len(logits), device=logits.device).repeat_interleave(logits.shape[1])
    return cross_entropy(logits.flatten(0, 1), label)


@full_precision
def told_right(logits: Tensor) -> Tensor:
    """Scalar: the share of views whose largest logit is their own; logits (V, N, V)."""
    label = torch.arange(len(logits), device=logits.device).unsqueeze(1)
    return (logits.argmax(2) == label).to(logits.dtype).mean()
