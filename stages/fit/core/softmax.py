"""Multinomial logistic regression at many L2 strengths at once: L-BFGS, batched over the strengths.

F(W, b) = mean cross entropy of softmax(z W' + b) + l2 / 2 |W|^2; b is not penalised. In the axes of `_linear.Axes` the
Hessian at W = 0 is, up to the coupling of classes, diag(moments) / C + l2, so weights scaled by its root make a
well-conditioned problem at every strength. Strengths that have converged leave the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

_MEMORY = 10  # pairs of L-BFGS (Nocedal and Wright 2006, alg. 7.4)
_ARMIJO = 1e-4
_HALVINGS = 30
_BLOCK = 1 << 24  # logits held at once


@dataclass(frozen=True)
class Fit:
    """weights (R, C, r), bias (R, C), objective (R,), gradient (R,): 2-norm of F's gradient, iterations (R,)."""

    weights: Tensor
    bias: Tensor
    objective: Tensor
    gradient: Tensor
    iterations: Tensor


def solve(z: Tensor, moments: Tensor, labels: Tensor, classes: int, l2: Tensor, *, tolerance: float, steps: int) -> Fit:
    """Minimises F for each of l2 (R,); z (N, r) float64, moments (r,), labels (N,) int64 below `classes`.

    A strength is done when the 2-norm of the gradient is at most `tolerance`: then W is within tolerance / l2 of its place
    (strong convexity), usually much nearer. It also ends where no lower point is found along the way down, and after `steps`.
    """
    problem = _Problem(z, moments, labels, classes, l2)
    active = torch.arange(len(l2), device=z.device)
    theta = z.new_zeros(len(l2), problem.size)
    iterations = torch.zeros(len(l2), dtype=torch.int64, device=z.device)
    objective, norm = z.new_zeros(len(l2)), z.new_zeros(len(l2))
    at = theta.clone()
    value, gradient, length = problem(at, active)
    pairs: list[tuple[Tensor, Tensor]] = []
    stuck, rounding = torch.zeros_like(active, dtype=torch.bool), 4 * torch.finfo(z.dtype).eps
    for step in range(steps + 1):
        done = (length <= tolerance) | stuck | (step == steps)
        if done.any():
            ended, kept = active[done], ~done
            theta[ended], objective[ended], norm[ended], iterations[ended] = at[done], value[done], length[done], step
            active, at, value, gradient, length = (t[kept] for t in (active, at, value, gradient, length))
            pairs = [(s[kept], y[kept]) for s, y in pairs]
        if not len(active):
            break
        direction = -_inverse_hessian(pairs, gradient)
        slope = (gradient * direction).sum(1)
        size = torch.ones_like(value)
        for _ in range(_HALVINGS):
            new = at + size[:, None] * direction
            new_value, new_gradient, new_length = problem(new, active)
            high = ~(new_value <= value + _ARMIJO * size * slope + rounding * value)
            if not high.any():
                break
            size = torch.where(high, size / 2, size)
        stuck = high  # no lower point along the way down: what is left of the gradient is rounding
        pairs = [*pairs[1 - _MEMORY :], (new - at, new_gradient - gradient)]
        at, gradient = torch.where(stuck[:, None], at, new), torch.where(stuck[:, None], gradient, new_gradient)
        value, length = torch.where(stuck, value, new_value), torch.where(stuck, length, new_length)
    weights, bias = problem.unpack(theta, torch.arange(len(l2), device=z.device))
    return Fit(weights, bias, objective, norm, iterations)


def _inverse_hessian(pairs: list[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """The two-loop recursion on gradient (R, P), each row by itself."""
    q, passed = gradient.clone(), []
    for s, y in reversed(pairs):
        curvature = (s * y).sum(1, keepdim=True)
        rho = torch.where(curvature > 0, 1 / curvature, 0.0)
        a = rho * (s * q).sum(1, keepdim=True)
        q -= a * y
        passed.append((s, y, rho, a))
    if pairs:
        s, y = pairs[-1]
        scale = (s * y).sum(1, keepdim=True) / (y * y).sum(1, keepdim=True)
        q *= torch.where(scale > 0, scale, 1.0)
    for s, y, rho, a in reversed(passed):
        q += s * (a - rho * (y * q).sum(1, keepdim=True))
    return q


class _Problem:
    """F and its gradient in the scaled weights theta (R, P), P = C r + C, for the strengths that are still active."""

    def __init__(self, z: Tensor, moments: Tensor, labels: Tensor, classes: int, l2: Tensor) -> None:
        self.z, self.l2, self.classes, self.axes = z, l2, classes, z.shape[1]
        self.size = classes * (self.axes + 1)
        self.scale = (moments / classes + l2[:, None]).rsqrt()  # (R, r)
        self.bias_scale = classes**0.5
        self.z_columns = z.T.contiguous()  # (r, N): softmax over C then runs along N, which is long
        hot = one_hot(labels, classes).double()
        self.hot_z, self.hot_mean = hot.T @ z / len(z), hot.mean(0)  # (C, r), (C,)

    def unpack(self, theta: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """theta (A, P) -> W (A, C, r), b (A, C)."""
        split = self.classes * self.axes
        weights = theta[:, :split].view(-1, self.classes, self.axes) * self.scale[active][:, None]
        return weights, theta[:, split:] * self.bias_scale

    def __call__(self, theta: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """F (A,), its gradient in theta (A, P), and the 2-norm (A,) of its gradient in W and b."""
        weights, bias = self.unpack(theta, active)
        a, c, r = weights.shape
        n = len(self.z)
        log_sum = weights.new_zeros(a)
        moment, mass = weights.new_zeros(a * c, r), weights.new_zeros(a, c)
        rows = max(1, _BLOCK // (a * c))
        for start in range(0, n, rows):
            stop = min(start + rows, n)
            logits = torch.addmm(bias.reshape(-1, 1), weights.view(a * c, r), self.z_columns[:, start:stop]).view(a, c, -1)
            top = logits.amax(1, keepdim=True)
            p = (logits - top).exp_()
            total = p.sum(1, keepdim=True)
            log_sum += (total.log() + top).sum((1, 2))
            p /= total
            moment += p.view(a * c, -1) @ self.z[start:stop]
            mass += p.sum(2)
        l2 = self.l2[active]
        fit = (weights * self.hot_z).sum((1, 2)) + (bias * self.hot_mean).sum(1)
        value = log_sum / n - fit + l2 / 2 * (weights * weights).sum((1, 2))
        d_weights = moment.view(a, c, r) / n - self.hot_z + l2[:, None, None] * weights
        d_bias = mass / n - self.hot_mean
        length = (d_weights.square().sum((1, 2)) + d_bias.square().sum(1)).sqrt()
        flat = (d_weights * self.scale[active][:, None]).view(a, -1)
        return value, torch.cat([flat, d_bias * self.bias_scale], 1), length
