"""Sums and singular values over many rows without a float64 copy of them all.

Up to 2^26 numbers (25,600 x 2,048, say) are one block, so that what was measured on them so far stays what it is to the last
digit; more are read in blocks of 2^22 numbers, 32 MB each.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_WHOLE = 1 << 26
_BLOCK = 1 << 22


def blocks(x: Tensor) -> Iterator[Tensor]:
    """x (N, ...) in float64, a block of rows at a time."""
    rows = len(x) if x.numel() <= _WHOLE else max(1, _BLOCK // x[0].numel())
    for part in x.split(max(rows, 1)):
        yield part.double()


def mean(x: Tensor) -> Tensor:
    """The mean (D,) of the rows of x (N, D), float64; not a number without rows."""
    total: Tensor = sum((part.sum(0) for part in blocks(x)), start=x.new_zeros(x.shape[1], dtype=torch.float64))
    return total / len(x)


def singular_values(x: Tensor, *, centred: bool = False) -> Tensor:
    """Those of x (N, D), or of x - mean, in float64, the largest first: (min(N, D),).

    Many rows are folded into a triangle R (D, D) block by block, R <- R of the QR decomposition of R above the block:
    R'R = x'x, so R has the singular values of x (Demmel et al. 2012, "Communication-optimal parallel and sequential QR",
    sec. 2). Each is as near as by an SVD of all rows, within some eps s_1. Roots of the eigenvalues of x'x are not:
    rounding of D eps s_1^2 leaves those below sqrt(D eps) s_1 (3e-7 s_1 for D of 512) undetermined, and RankMe adds 1e-7.
    """
    if x.numel() <= _WHOLE:
        x = x.double()
        return torch.linalg.svdvals(x - x.mean(0) if centred else x)
    shift = mean(x) if centred else x.new_zeros(x.shape[1], dtype=torch.float64)
    tall, shift = (x, shift[None]) if len(x) >= x.shape[1] else (x.T, shift[:, None])
    triangle = tall.new_zeros(0, tall.shape[1], dtype=torch.float64)
    rows = max(tall.shape[1], _BLOCK // tall.shape[1])  # fewer than its columns would cost more for the triangle than for them
    for start in range(0, len(tall), rows):
        part = tall[start : start + rows] - (shift if shift.shape[0] == 1 else shift[start : start + rows])
        triangle = torch.linalg.qr(torch.cat([triangle, part]), mode="r").R
    return torch.linalg.svdvals(triangle)
