"""LiDAR, the effective rank of the discriminant analysis that tells items apart by their views."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.registry import part
from stages.measures.core.blocks import blocks

TAKES, HIGHER_IS_BETTER = "views", True


@part
def lidar(x: Tensor, *, delta: float = 1e-4, epsilon: float = 1e-8) -> float:
    """exp of the entropy of the spectrum of S_w^-1/2 S_b S_w^-1/2 for x (N, V, D): N items, each a class of its V views.

    S_b: covariance of the items' mean embeddings (over N - 1). S_w: covariance of views about their item's mean (over
    N (V - 1)) + delta I. p_k = lambda_k / sum(lambda) + epsilon. At most min(D, N - 1), plus O(epsilon). Thilak et al. 2024,
    "LiDAR", sec. 3, eq. 1-4; delta is not named there, 1e-4 is common; it makes the value depend on scale where views vary
    less than that. Compare at equal N, V and D. Not a number with fewer than two items or views.
    """
    n, v, d = x.shape
    if n < 2 or v < 2:
        return float("nan")
    centre = sum(views.mean(1).sum(0) for views in blocks(x)) / n  # (D,)
    s_b = s_w = x.new_zeros(d, d, dtype=torch.float64)
    for views in blocks(x):
        mean = views.mean(1)
        between, within = mean - centre, (views - mean[:, None]).reshape(-1, d)
        s_b, s_w = s_b + between.T @ between, s_w + within.T @ within
    s_b = s_b / (n - 1)
    s_w = s_w / (n * (v - 1)) + delta * torch.eye(d, dtype=torch.float64, device=x.device)
    factor = torch.linalg.cholesky(s_w)  # L^-1 S_b L^-T has the eigenvalues of S_w^-1/2 S_b S_w^-1/2
    half = torch.linalg.solve_triangular(factor, s_b, upper=False)
    eigenvalues = torch.linalg.eigvalsh(torch.linalg.solve_triangular(factor, half.T, upper=False)).clamp_min(0)
    p = eigenvalues / eigenvalues.sum().clamp_min(torch.finfo(torch.float64).tiny) + epsilon
    return float(torch.exp(-(p * p.log()).sum()))
