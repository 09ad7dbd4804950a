"""DIET, the datum's index as its target: one linear layer tells which training item a view was made from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.embedding import embed
from stages.pretrain.core.items import Source
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision


@part
class DIET(Objective):
    """Every training item is a class of its own. Ibrahim et al. 2024, "Occam's Razor for Self Supervised Learning".

    total: cross entropy of W h against the item's index, with label smoothing `smoothing`: the mean over items and views.
    W (N, D) has no bias, is made when the N training items are known, and is thrown away. accuracy: the share of views whose
    largest logit is their own item's. Nothing couples the items of a batch, and one view is enough. Raises UserError where
    `smoothing` is not in [0, 1).
    """

    classifier: nn.Linear

    def __init__(self, encoder: Encoder, *, smoothing: float = 0.8) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise UserError(f"smoothing lies in [0, 1), got {smoothing:g}", where="objective diet")
        self.smoothing = smoothing

    def prepare(self, encoder: Encoder, items: Source, teacher: Encoder | None) -> None:
        self.classifier = nn.Linear(encoder.width, len(items), bias=False)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        h = torch.cat(embed(encoder, nn.Identity(), batch.views))
        index = gather(batch.index).repeat(len(batch.views))
        weight = self.classifier.weight
        total = instance_cross_entropy(h, weight, index, smoothing=self.smoothing)
        return {"total": total, "accuracy": told_right(h.detach(), weight.detach(), index)}


@full_precision
def instance_cross_entropy(h: Tensor, weight: Tensor, index: Tensor, *, smoothing: float) -> Tensor:
    """Scalar: mean over b of -sum_k q_bk log softmax(W h_b)_k, with q_bk = (1 - s) [k = index_b] + s / N.

    h (B, D), weight W (N, D), index (B,) in 0 .. N - 1, s = smoothing. It is log N where all logits are equal, and never less
    than the entropy of q. Ibrahim et al. 2024, "Occam's Razor for Self Supervised Learning"; s: Szegedy et al. 2016, sec. 7.
    """
    return cross_entropy(linear(h, weight), index, label_smoothing=smoothing)


@full_precision
def told_right(h: Tensor, weight: Tensor, index: Tensor) -> Tensor:
    """Scalar: the share of rows of h (B, D) whose largest of the logits W h is their own index (B,)."""
    right = linear(h, weight).argmax(1) == index
    return right.to(h.dtype).mean()
