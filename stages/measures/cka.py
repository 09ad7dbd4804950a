"""Linear CKA, the similarity of two representations of the same items."""

from __future__ import annotations

from torch import Tensor

from stages.common.registry import part
from stages.measures.core.blocks import mean

TAKES, HIGHER_IS_BETTER = "pair", None


@part
def cka(x: Tensor, y: Tensor, *, block: int = 8192) -> float:
    """|Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F) for x (N, D1) and y (N, D2), their columns centred; between 0 and 1.

    Kornblith et al. 2019, "Similarity of neural network representations revisited", sec. 3, linear CKA in feature space: no
    N x N matrix, only sums over blocks of rows. Unchanged by rotations, shifts and one scale of either. Biased upwards where
    N is not much larger than D1 and D2. Not a number where either does not vary.
    """
    mean_x, mean_y = mean(x), mean(y)
    xx, yy, xy = (mean_x.new_zeros(a, b) for a, b in ((x.shape[1],) * 2, (y.shape[1],) * 2, (x.shape[1], y.shape[1])))
    for x_rows, y_rows in zip(x.split(block), y.split(block), strict=True):
        a, b = x_rows - mean_x, y_rows - mean_y
        xx += a.T @ a
        yy += b.T @ b
        xy += a.T @ b
    scale = xx.norm() * yy.norm()
    return float(xy.norm() ** 2 / scale) if scale > 0 else float("nan")
