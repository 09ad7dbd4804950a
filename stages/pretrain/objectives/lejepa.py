"""LeJEPA: views predict the mean of the global ones, and the embeddings of each view look like an isotropic Gaussian."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision
from stages.views.core import random


@part
class LeJEPA(Objective):
    """Balestriero and LeCun 2025, "LeJEPA": (1 - weight) prediction + weight SIGReg.

    prediction: mean squared distance of each view's projection to the mean of the global views', over views, items and
    dimensions (sec. 5.1; the paper sums over dimensions, the authors' minimal script takes the mean). The first `globals`
    views are the global ones, as `multicrop` orders them; null: all views are, as in the script. sigreg: mean over all views of
    the Epps-Pulley statistic along `slices` unit vectors (the paper: 1024), new at every step and the same on every rank.
    `weight` is the paper's lambda, 0.02 to 0.05; 0 leaves the prediction alone, which collapses. The projector is an MLP of
    three linear maps. Raises UserError if there is one view only, or fewer views than global ones.
    """

    seed: Tensor
    step: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        weight: float = 0.02,
        globals: int | None = None,
        slices: int = 256,
        knots: int = 17,
        hidden: int = 2048,
        out: int = 128,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise UserError(f"the weight lies between 0 and 1, not at {weight:g}", where="objective lejepa")
        if slices < 1 or knots < 2:
            raise UserError(f"{slices} slices and {knots} knots: at least 1 and 2 are needed", where="objective lejepa")
        if globals is not None and globals < 1:
            raise UserError(f"there must be one global view at least, not {globals}", where="objective lejepa.globals")
        self.weight, self.globals, self.slices, self.knots = weight, globals, slices, knots
        self.projector = Projector("mlp", encoder.width, hidden, out, layers=3)
        self.register_buffer("seed", torch.randint(2**62, ()))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "lejepa")
        if self.globals is not None and self.globals > len(batch.views):
            raise UserError(
                f"{self.globals} global views are asked for, there are {len(batch.views)} views in all",
                where="objective lejepa.globals",
                do="write the `globals` of the views, or null for all of them",
            )
        z = embed(encoder, self.projector, batch.views)
        along = directions(self.seed, self.step, z[0].shape[1], self.slices)
        prediction = to_mean(torch.stack(z), self.globals)
        gauss = torch.stack([sigreg(v, along, knots=self.knots) for v in z]).mean()
        return {"total": (1 - self.weight) * prediction + self.weight * gauss, "prediction": prediction, "sigreg": gauss}

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        self.step.fill_(step)


@full_precision
def to_mean(z: Tensor, first: int | None = None) -> Tensor:
    """Mean squared distance of z (V, N, D) to its mean over the views, or over the `first`; gradients run through it too."""
    return (z - z[:first].mean(dim=0)).square().mean()


@full_precision
def epps_pulley(x: Tensor, *, knots: int = 17, reach: float = 3.0) -> Tensor:
    """Epps-Pulley's statistic of x (N, M): M samples of N numbers, tested against N(0, 1), -> (M,).

    T = N * integral over t of |ecf(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), ecf(t) = mean_n exp(i t x_n): Epps and Pulley 1983,
    with the weights of Balestriero and LeCun 2025, "LeJEPA", sec. 4.2. Trapezoids at `knots` points of [0, reach], doubled: the
    integrand is even. Under N(0, 1) and over the whole line its mean is sqrt(2 pi) (1 - 1 / sqrt 3), whatever N.
    """
    t = torch.linspace(0, reach, knots, device=x.device, dtype=x.dtype)
    step = reach / (knots - 1)
    weight = torch.full_like(t, 2 * step)
    weight[0] = weight[-1] = step
    gauss = torch.exp(-t.square() / 2)
    angle = x.unsqueeze(-1) * t  # (N, M, knots)
    distance = (angle.cos().mean(0) - gauss).square() + angle.sin().mean(0).square()
    return len(x) * (distance @ (weight * gauss))


def directions(seed: Tensor, step: Tensor, dimension: int, count: int) -> Tensor:
    """`count` unit vectors (dimension, count), uniform on the sphere; they depend on (seed, step), int64 scalars, alone."""
    return normalize(random.normal(random.stream(seed, step), dimension * count).view(dimension, count), dim=0)


@full_precision
def sigreg(z: Tensor, along: Tensor, *, knots: int = 17, reach: float = 3.0) -> Tensor:
    """Scalar: the mean Epps-Pulley statistic of z (N, D) along the unit vectors `along` (D, M)."""
    return epps_pulley(z @ along.to(z.dtype), knots=knots, reach=reach).mean()
