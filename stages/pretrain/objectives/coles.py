"""CoLES: stretches of one sequence of events attract, those of others repel as far as they are near."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import join
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.embedding import at_least_two
from stages.pretrain.core.event_decoder import EventDecoder, padded
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision


@part
class CoLES(Objective):
    """Babaev et al. 2022, "CoLES: Contrastive Learning for Event Sequences with Self-Supervision", sec. 3.3 and 3.4.

    A batch is the V views of B sequences (views `subsequence`). total: the margin contrastive loss (Hadsell et al. 2006) of the
    embeddings at unit length, over all pairs of views of one sequence and, for each view, the `negatives` nearest views of
    other sequences. Defaults are those of the authors' code: margin 0.5, 5 negatives; the mean over pairs stands for its sum.

    reconstruct: with it, so many times the loss of `event_reconstruction` of the first view is added: the naive sum that MLEM
    is compared with (Moskvoretskii et al. 2024). dim, depth, heads: of its decoder.

    Terms: total, contrast; attract, repel: the means over the positive and the negative pairs; reconstruction where there is
    one. Raises UserError for fewer than two views or sequences, and for arguments out of their range.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        margin: float = 0.5,
        negatives: int = 5,
        reconstruct: float = 0.0,
        dim: int = 128,
        depth: int = 3,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if margin <= 0 or negatives < 1 or reconstruct < 0:
            raise UserError(
                f"margin {margin:g} must be above 0, negatives {negatives} 1 or more, reconstruct {reconstruct:g} not negative",
                where="objective coles",
            )
        self.margin, self.negatives, self.reconstruct = margin, negatives, reconstruct
        self.decoder = EventDecoder(encoder, dim=dim, depth=depth, heads=heads) if reconstruct else None

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "coles")
        x = join([padded(v) for v in batch.views])
        z = encoder(x)
        h = [gather(part) for part in z.chunk(len(batch.views))]
        if len(h[0]) < 2:
            raise UserError(
                "there is one sequence, and no other to repel", where="objective coles", do="write a larger batch_size"
            )
        entity = torch.arange(len(h[0]), device=h[0].device).repeat(len(h))
        attract, repel, total = margin_contrastive(torch.cat(h), entity, margin=self.margin, negatives=self.negatives)
        terms = {"total": total, "contrast": total, "attract": attract, "repel": repel}
        if self.decoder is not None:
            losses = self.decoder.losses(z[: len(batch)], padded(batch.views[0]))
            terms["reconstruction"] = losses["code"] + losses["value"] + losses["since"]
            terms["total"] = total + self.reconstruct * terms["reconstruction"]
        return terms


@full_precision
def margin_contrastive(h: Tensor, entity: Tensor, *, margin: float, negatives: int) -> tuple[Tensor, Tensor, Tensor]:
    """h (N, D), entity (N,) -> means over the positive pairs, over the negative pairs, and over both together.

    A pair i, j at distance d of its unit vectors costs d^2 / 2 where both are of one entity, max(0, margin - d)^2 / 2 where
    they are not. Positive: all ordered pairs i != j of one entity. Negative: for each i the `negatives` nearest j of others.
    """
    z = normalize(h, dim=1)
    squared = (2 - 2 * z @ z.T).clamp_min(0)
    same = entity[:, None] == entity
    positive = squared[same & ~torch.eye(len(h), dtype=torch.bool, device=h.device)] / 2
    apart = squared.masked_fill(same, float("inf")).topk(min(negatives, len(h)), dim=1, largest=False).values
    apart = apart[apart.isfinite()]
    negative = (margin - apart.clamp_min(1e-12).sqrt()).clamp_min(0).square() / 2
    return positive.mean(), negative.mean(), torch.cat([positive, negative]).mean()
