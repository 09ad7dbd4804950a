"""RankMe, the effective rank of embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.registry import part
from stages.measures.core.blocks import singular_values

TAKES, HIGHER_IS_BETTER = "rows", True


@part
def rankme(x: Tensor, *, epsilon: float = 1e-7) -> float:
    """exp of the entropy of the normalised singular values of x (N, D), not centred; between 1 and min(N, D), plus O(epsilon).

    p_k = s_k / sum(s) + epsilon; RankMe = exp(-sum p_k log p_k). Garrido et al. 2023, "RankMe", eq. 1-2. It works on the
    singular values of the embeddings themselves, not on eigenvalues of their covariance. Compare it at equal N only.
    """
    s = singular_values(x)
    p = s / s.sum().clamp_min(torch.finfo(s.dtype).tiny) + epsilon
    return float(torch.exp(-(p * p.log()).sum()))
