"""Intrinsic dimension by principal components."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.measures.core.blocks import blocks, singular_values

TAKES, HIGHER_IS_BETTER = "rows", None


@part
def pca95(x: Tensor, *, share: float = 0.95) -> float:
    """The least k for which the first k principal components of x (N, D) hold a `share` of its variance; 0 where it has none.

    The variances are the squared singular values of x - mean. Wang et al. 2023, "BrainBERT", sec. 4, measure the intrinsic
    dimension of embeddings so, with 95%. It is min(N - 1, D) at most. Raises UserError for a share that is not above 0 to 1.
    """
    if not 0 < share <= 1:
        raise UserError(f"a share of the variance lies above 0 and is 1 at most, not {share:g}", where="measure pca95")
    held = singular_values(x, centred=True).square().cumsum(0)
    if held[-1] <= torch.finfo(torch.float64).eps * sum(float(part.square().sum()) for part in blocks(x)):
        return 0.0
    return float((held < share * held[-1] * (1 - 1e-12)).sum() + 1)
