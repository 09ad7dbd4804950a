"""SimCLR: two views of an item attract, all other items of the batch repel."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision


@part
class SimCLR(Objective):
    """Chen et al. 2020, "A simple framework for contrastive learning of visual representations", eq. 1.

    total: NT-Xent of the projections at `temperature` (0.5 suits CIFAR's scale, 0.1 ImageNet's: appendix B.7 and B.9), averaged
    over the pairs of views where there are more than two. `projector` none, linear or mlp (sec. 4.2); `hidden` null: as wide as
    the embedding. Raises UserError if there is one view only.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.5,
        projector: Literal["none", "linear", "mlp"] = "mlp",
        hidden: int | None = None,
        out: int = 128,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise UserError(f"the temperature must be above 0, got {temperature:g}", where="objective simclr")
        self.temperature = temperature
        self.projector = Projector(projector, encoder.width, hidden or encoder.width, out)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "simclr")
        z = embed(encoder, self.projector, batch.views)
        losses = [nt_xent(a, b, temperature=self.temperature) for a, b in combinations(z, 2)]
        return {"total": torch.stack(losses).mean()}


@full_precision
def nt_xent(a: Tensor, b: Tensor, *, temperature: float) -> Tensor:
    """Scalar loss of two views a, b (N, D) of the same N items. Chen et al. 2020, "SimCLR", eq. 1, averaged over the 2N views.

    l(i, j) = -log exp(cos(z_i, z_j) / t) / sum_{k != i} exp(cos(z_i, z_k) / t); j is the other view of i, k runs over all 2N.
    """
    n = len(a)
    z = normalize(torch.cat([a, b]), dim=1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    other = torch.arange(2 * n, device=z.device).roll(n)
    return cross_entropy(logits, other)
