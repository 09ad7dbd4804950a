"""VICReg: views agree, every feature varies, no two features say the same."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core.decorrelation import covariance, distance, variance
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective


@part
class VICReg(Objective):
    """Bardes, Ponce and LeCun 2022, "VICReg", eq. 6: invariance_weight s + variance_weight v + covariance_weight c.

    The terms are logged unweighted. The expander is an MLP of `layers` linear maps, `hidden` and `out` wide (sec. 4.2). With
    more than two views each term is averaged over the pairs. Raises UserError if there is one view only.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        hidden: int = 8192,
        out: int = 8192,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.weights = {"invariance": invariance_weight, "variance": variance_weight, "covariance": covariance_weight}
        self.projector = Projector("mlp", encoder.width, hidden, out, layers)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "vicreg")
        z = embed(encoder, self.projector, batch.views)
        pairs = [vicreg(a, b) for a, b in combinations(z, 2)]
        terms = {name: torch.stack([p[name] for p in pairs]).mean() for name in self.weights}
        total = torch.stack([self.weights[name] * terms[name] for name in self.weights]).sum()
        return {"total": total, **terms}


def vicreg(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """The unweighted terms for two views a, b (N, D). Bardes et al. 2022, eq. 1-5.

    Eq. 5 sums the squared distance over D; the authors' code, and so this, takes the mean. Variance is the mean over the two
    views and covariance their sum, as in the authors' code: the paper's eq. 6 sums both over the views, but its weights (25,
    25, 1) belong to this scaling.
    """
    return {
        "invariance": distance(a, b),
        "variance": (variance(a) + variance(b)) / 2,
        "covariance": covariance(a) + covariance(b),
    }
