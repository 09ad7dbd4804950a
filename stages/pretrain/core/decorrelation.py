"""VICReg's three terms, of which other methods are built too: views agree, columns spread, columns say different things."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from stages.pretrain.core.precision import full_precision

EPSILON = 1e-4  # below the root of a variance


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
    """Sum of the squared off-diagonal entries of the covariance of z (N, D), which is divided by N - 1, over D. Eq. 3-4."""
    n, d = z.shape
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (n - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / d
