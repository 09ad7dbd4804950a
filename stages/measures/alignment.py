"""Alignment of the views of an item."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from stages.common.registry import part
from stages.measures.core.blocks import blocks

TAKES, HIGHER_IS_BETTER = "views", False


@part
def alignment(x: Tensor, *, alpha: float = 2.0) -> float:
    """Mean over items and pairs of views of |f_u - f_v|^alpha, f the embeddings x (N, V, D) scaled to length 1; 0 to 2^alpha.

    Wang and Isola 2020, "Alignment and uniformity", sec. 4.1, L_align, where V is 2. Lower is better aligned. Not a number with
    fewer than two views.
    """
    n, v, _ = x.shape
    if n < 1 or v < 2:
        return float("nan")
    total = 0.0
    for f in (normalize(views, dim=2) for views in blocks(x)):
        total += sum(float((f[:, u + 1 :] - f[:, u : u + 1]).norm(dim=2).pow(alpha).sum()) for u in range(v - 1))
    return total / (n * v * (v - 1) / 2)
