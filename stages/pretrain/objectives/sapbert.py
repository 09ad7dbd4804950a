"""SapBERT: names of one concept attract, those of others repel, as far as they are hard."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision


@part
class SapBERT(Objective):
    """Liu et al. 2021, "Self-Alignment Pretraining for Biomedical Entity Representations", sec. 2.

    A batch is B names and a partner of each: `pairs: <column>`, `side: [<column>]`, the column that says which concept a name
    is of (`concept`). total: the multi-similarity loss (eq. 3) of all 2B embeddings; with `mining`, over the pairs that lie in
    a triple (anchor, positive, negative) whose negative is not farther from the anchor than the positive by more than
    `margin`, as Euclidean distances of unit vectors (eq. 2). Defaults are those of the authors' code: alpha 1, beta 60,
    threshold 0.5 (lambda in Wang et al. 2019), margin 0.2.

    Terms: total; positives, negatives: shares of the pairs that were kept. Raises UserError without pairs or the column.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        concept: str = "concept",
        mining: bool = True,
        margin: float = 0.2,
        alpha: float = 1.0,
        beta: float = 60.0,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        if alpha <= 0 or beta <= 0 or margin < 0:
            raise UserError("alpha and beta must be above 0, and margin 0 or more", where="objective sapbert")
        self.concept, self.mining, self.margin = concept, mining, margin
        self.alpha, self.beta, self.threshold = alpha, beta, threshold
        self.head = nn.Identity()

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "sapbert")
        for given in (batch.side, batch.other):
            if self.concept not in given:
                raise UserError(
                    f"the concept of each name is not known: there is no {self.concept!r} beside the views",
                    where="objective sapbert.concept",
                    do=f"write `pairs: {self.concept}` and `side: [{self.concept}]` in the encoder",
                )
        z = torch.cat(embed(encoder, self.head, batch.views))
        concept = torch.cat([gather(batch.side[self.concept]), gather(batch.other[self.concept])])
        positive, negative = pairs(concept)
        kept = mined(z.detach(), positive, negative, self.margin) if self.mining else (positive, negative)
        shares = {n: k.sum() / a.sum().clamp_min(1) for n, k, a in zip(("positives", "negatives"), kept, (positive, negative))}
        loss = multi_similarity(z, *kept, alpha=self.alpha, beta=self.beta, threshold=self.threshold)
        return {"total": loss, **shares}


def pairs(concept: Tensor) -> tuple[Tensor, Tensor]:
    """concept (N,), -1: not known -> bool (N, N): whether names a, b are of one concept (a != b); whether of two."""
    known = concept >= 0
    both = known.unsqueeze(0) & known.unsqueeze(1)
    same = concept.unsqueeze(0) == concept.unsqueeze(1)
    alike = torch.eye(len(concept), dtype=torch.bool, device=concept.device)
    return same & both & ~alike, ~same & both


@full_precision
def mined(z: Tensor, positive: Tensor, negative: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """The pairs of `positive` and `negative` (N, N) that lie in a triple with d(a, n) - d(a, p) <= margin. Liu et al. eq. 2.

    d: Euclidean distance of z (N, D) at unit length. A positive is in such a triple if the nearest negative is near enough, a
    negative if the farthest positive is far enough: no triple need be listed.
    """
    unit = normalize(z, dim=1)
    distance = (2 - 2 * unit @ unit.T).clamp_min(0).sqrt()
    nearest = distance.masked_fill(~negative, float("inf")).amin(1, keepdim=True)
    farthest = distance.masked_fill(~positive, float("-inf")).amax(1, keepdim=True)
    return positive & (nearest - distance <= margin), negative & (distance - farthest <= margin)


@full_precision
def multi_similarity(z: Tensor, positive: Tensor, negative: Tensor, *, alpha: float, beta: float, threshold: float) -> Tensor:
    """Mean over the N anchors of z (N, D). Wang et al. 2019, "Multi-similarity loss", eq. 15, s the cosine similarity.

    (1 / alpha) log(1 + sum_p exp(-alpha (s_ap - threshold))) + (1 / beta) log(1 + sum_n exp(beta (s_an - threshold))), the sums
    over the pairs of `positive` and `negative` (N, N). An anchor without pairs adds 0.
    """
    unit = normalize(z, dim=1)
    apart = unit @ unit.T - threshold
    pull = _soft_plus(-alpha * apart, positive) / alpha
    push = _soft_plus(beta * apart, negative) / beta
    return (pull + push).mean()


def _soft_plus(logits: Tensor, kept: Tensor) -> Tensor:
    """log(1 + sum_b exp(logits_ab)) over the `kept`, (N,)."""
    zero = logits.new_zeros(len(logits), 1)
    return torch.cat([zero, logits.masked_fill(~kept, float("-inf"))], 1).logsumexp(1)
