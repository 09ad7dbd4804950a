"""SIE: one half of the embedding stays as it is between two views of an object, the other moves as the known turn says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from stages.common.errors import UserError
from stages.common.quaternion import relative
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.embedding import embed
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision

EPSILON = 1e-4  # inside the root of the variance term


@part
class SIE(Objective):
    """Garrido, Najman and LeCun 2023, "Self-supervised learning of Split Invariant Equivariant representations", sec. 4.2.

    h (N, D) is cut at `share` of D: what comes first is to be invariant, the rest equivariant. Each part has an expander of its
    own (`hidden` and `out` wide in all, cut alike, `layers` linear maps). For views x, y of one object at poses p_x, p_y
    (`pose`, a column of `side:`, unit quaternions w, x, y, z) and z = p_y p_x^-1:

        similarity_weight mse(x_inv, y_inv) + similarity_weight equivariance_weight mse(predictor(x_equi, z), y_equi)
        + variance_weight v + covariance_weight c + predicted_weight v(predictor(x_equi, z))

    v and c are VICReg's (Bardes et al. 2022), of both parts as one embedding, so that the halves may not say the same.
    predictor: `hypernetwork`: A(z) x_equi, the matrix A (d, d) linear in z and without bias, so it is not one for all z;
    `mlp`: two linear maps of (x_equi, z), which may ignore z. predicted_weight: the term that the paper adds for the
    predictor's collapse; 0 leaves it out. Terms are logged unweighted.

    Raises UserError where a part is empty, the batch has not two views, or no poses come with it.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        pose: str = "pose",
        share: float = 0.5,
        predictor: Literal["hypernetwork", "mlp"] = "hypernetwork",
        similarity_weight: float = 10.0,
        equivariance_weight: float = 0.45,
        variance_weight: float = 10.0,
        covariance_weight: float = 1.0,
        predicted_weight: float = 0.0,
        hidden: int = 2048,
        out: int = 2048,
        layers: int = 3,
    ) -> None:
        super().__init__()
        self.pose, self.cut = pose, round(share * encoder.width)
        inner, first = round(share * hidden), round(share * out)
        rest = (encoder.width - self.cut, hidden - inner, out - first)
        if min(self.cut, inner, first, *rest) < 1:
            raise UserError(f"share {share:g} leaves a part empty", where="objective sie.share", do="choose one within 0 and 1")
        self.invariant = Projector("mlp", self.cut, inner, first, layers)
        self.equivariant = Projector("mlp", *rest, layers)
        self.predictor = Hypernetwork(rest[2]) if predictor == "hypernetwork" else Conditioned(rest[2])
        self.weights = {
            "invariance": similarity_weight,
            "equivariance": similarity_weight * equivariance_weight,
            "variance": variance_weight,
            "covariance": covariance_weight,
            "predicted_variance": predicted_weight,
        }

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if len(batch.views) != 2:
            raise UserError(
                f"objective 'sie' takes two views of each object, and there are {len(batch.views)}",
                where="pairs",
                do="write `pairs: <the object's column>` and `views: {name: none}`",
            )
        x, y = embed(encoder, nn.Identity(), batch.views)
        z = relative(gather(self._poses(batch.side)), gather(self._poses(batch.other)))
        both = torch.cat([x, y])  # batch norm sees both views, as with one expander
        invariant = self.invariant(both[:, : self.cut]).chunk(2)
        equivariant = self.equivariant(both[:, self.cut :]).chunk(2)
        terms = sie(invariant, equivariant, self.predictor(equivariant[0], z))
        total = torch.stack([self.weights[name] * terms[name] for name in self.weights]).sum()
        return {"total": total, **terms}

    def _poses(self, columns: Mapping[str, Tensor]) -> Tensor:
        """(B, 4) of the side columns. Raises UserError."""
        found = columns.get(self.pose)
        if found is None or found[0].numel() != 4:
            raise UserError(
                f"objective 'sie' needs the poses of both views, four numbers each, in column {self.pose!r}",
                where="side",
                do=f"write `side: [{self.pose}]` and `pairs: <the object's column>`",
            )
        return found.flatten(1).float()


class Hypernetwork(nn.Module):
    """x (N, d), z (N, 4) -> A(z) x (N, d), A(z) = z_1 A_1 + ... + z_4 A_4; the A_k are drawn as a linear map's weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        maps = [nn.Linear(width, width, bias=False).weight.detach() for _ in range(4)]
        self.maps = nn.Parameter(torch.stack(maps))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return torch.einsum("nk,kij,nj->ni", z.to(x.dtype), self.maps, x)


class Conditioned(nn.Module):
    """x (N, d), z (N, 4) -> an MLP of both (N, d), with one hidden layer as wide as x: nothing makes it heed z."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = Projector("mlp", width + 4, width, width, 2)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        found: Tensor = self.mlp(torch.cat([x, z.to(x.dtype)], 1))
        return found


def sie(invariant: Sequence[Tensor], equivariant: Sequence[Tensor], predicted: Tensor) -> dict[str, Tensor]:
    """The unweighted terms for the parts (N, d_inv), (N, d_equi) of two views each, and the prediction of the second one's.

    Variance is the mean over the two views and covariance their sum, as in VICReg's code.
    """
    whole = [torch.cat([a, b], 1) for a, b in zip(invariant, equivariant, strict=True)]
    return {
        "invariance": distance(invariant[0], invariant[1]),
        "equivariance": distance(predicted, equivariant[1]),
        "variance": (variance(whole[0]) + variance(whole[1])) / 2,
        "covariance": covariance(whole[0]) + covariance(whole[1]),
        "predicted_variance": variance(predicted),
    }


@full_precision
def distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean over items and dimensions of the squared difference of a, b (N, D)."""
    return mse_loss(a, b)


@full_precision
def variance(z: Tensor) -> Tensor:
    """Mean over the D columns of z (N, D) of max(0, 1 - sqrt(Var + 1e-4)), Var with N - 1. Bardes et al. 2022, eq. 1-2."""
    return torch.relu(1 - (z.var(dim=0, correction=1) + EPSILON).sqrt()).mean()


@full_precision
def covariance(z: Tensor) -> Tensor:
    """Sum of the squared off-diagonal entries of the covariance (N - 1) of z (N, D), over D. Bardes et al. 2022, eq. 3-4."""
    n, d = z.shape
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (n - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / d
