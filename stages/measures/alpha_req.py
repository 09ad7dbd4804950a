"""alpha-ReQ, the power-law decay of the covariance spectrum."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.registry import part
from stages.measures.core.blocks import singular_values

TAKES, HIGHER_IS_BETTER = "rows", None  # near 1 is best


@part
def alpha_req(x: Tensor, *, first: int = 4, last: int = 100) -> float:
    """alpha of lambda_j ~ j^-alpha, with lambda_1 >= lambda_2 >= ... the eigenvalues of the covariance of x (N, D).

    Least squares of log lambda_j on log j with weights 1/j over the ranks first <= j <= last, clipped to the numerical rank.
    Agrawal et al. 2022, "alpha-ReQ"; the weights are those of Stringer et al. 2019 (Methods, power-law fit), the range
    that of the authors' code: the paper names none, and alphas compare at equal range only. Not a number with fewer than two
    eigenvalues in range.
    """
    eigenvalues = singular_values(x, centred=True) ** 2 / max(len(x) - 1, 1)
    floor = eigenvalues.max() * max(x.shape) * torch.finfo(torch.float32).eps ** 2
    rank = int((eigenvalues > floor).sum())
    if min(last, rank) <= first:
        return float("nan")
    j = torch.arange(first, min(last, rank) + 1, dtype=torch.float64, device=x.device)
    weight = 1 / j / (1 / j).sum()
    log_rank, log_value = j.log(), eigenvalues[first - 1 : len(j) + first - 1].log()
    spread = log_rank - (weight * log_rank).sum()
    return float(-(weight * spread * log_value).sum() / (weight * spread**2).sum())
