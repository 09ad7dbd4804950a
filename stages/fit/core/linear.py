"""What linear heads share: standardised rows, in the axes in which their second moments are diagonal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CONSTANT = 1e-6  # a column whose standard deviation is below this share of its largest value is constant up to rounding


@dataclass(frozen=True)
class Axes:
    """x (N, D) -> z = (x - mean) / std @ basis (N, r), float64, r = min(N, D) for the rows it was made from.

    There z'z / N = diag(moments), moments (r,). Weights beyond the r axes would only meet zeros, so a problem with fewer rows
    than columns is solved in N dimensions.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor  # (D, r), orthonormal columns
    moments: Tensor

    @staticmethod
    def of(x: Tensor) -> Axes:
        x = x.double()
        mean, std = x.mean(0), x.std(0, correction=0)
        std = torch.where(std > _CONSTANT * x.abs().amax(0), std, torch.ones_like(std))
        x = (x - mean) / std
        if len(x) < x.shape[1]:
            span, triangle = torch.linalg.qr(x.T)  # x = triangle' span', span (D, N)
            moments, turn = torch.linalg.eigh(triangle @ triangle.T / len(x))
            return Axes(mean, std, span @ turn, moments.clamp_min(0))
        moments, basis = torch.linalg.eigh(x.T @ x / len(x))
        return Axes(mean, std, basis, moments.clamp_min(0))

    def project(self, x: Tensor) -> Tensor:
        """x (N, D) -> z (N, r)."""
        return (x.double() - self.mean) / self.std @ self.basis


def best(values: Tensor, l2: Tensor) -> int:
    """Index of the largest of values (R,); of equal ones, the one with the strongest regularisation l2 (R,)."""
    ties = torch.nonzero(values == values.max()).flatten()
    return int(ties[l2[ties].argmax()])
