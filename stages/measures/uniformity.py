"""Uniformity of embeddings on the sphere."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.common.registry import part
from stages.measures.core.blocks import blocks

TAKES, HIGHER_IS_BETTER = "rows", False
_BLOCK = 1 << 24  # similarities held at once


@part
def uniformity(x: Tensor, *, t: float = 2.0) -> float:
    """log of the mean over pairs of exp(-t |f_i - f_j|^2), f the rows of x (N, D) scaled to length 1; between -4t and 0.

    Wang and Isola 2020, "Alignment and uniformity", sec. 4.1, L_uniform. Lower is more uniform. All N (N - 1) / 2 pairs are
    visited, in blocks; beside x there is one float32 copy of it. Not a number with fewer than two rows.
    """
    n = len(x)
    if n < 2:
        return float("nan")
    f = torch.empty_like(x, dtype=torch.float32)
    done = 0
    for wide in blocks(x):
        f[done : done + len(wide)] = normalize(wide, dim=1)
        done += len(wide)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    rows = max(1, _BLOCK // n)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        exponent = 2 * t * (f[start:stop] @ f[start:].T - 1)  # -t |f_i - f_j|^2, j from the block's first row on
        total += exponent.exp_().triu_(1).sum(dtype=torch.float64)
    return math.log(float(total)) - math.log(n * (n - 1) / 2) if total > 0 else -math.inf
