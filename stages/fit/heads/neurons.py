"""The neuron probe: logistic regression on a few single units of frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.fit.core.head import Outcome, Problem

_STEPS = 50  # of Newton, at most
_HALVINGS = 30


@part
class Neurons:
    """p(y = 1 | x) = sigmoid(w z + b) of `k` units z of x (N, D), standardised by the train rows.

    Chilingaryan et al. 2022, "BARTSmiles", the section on single neurons, where k = 7. Units are ranked by how well each
    alone tells the classes of the train rows apart, |AUROC - 1/2|, and the first `candidates` are kept. Of these one after
    another is chosen: the one that, with those chosen before, gives the least F on the train rows, of equal ones the one
    ranked first. w and b minimise F = mean cross entropy + l2 / 2 |w|^2, by Newton's method. Valid rows are not read.

    details: the units in the order of choice, the AUROC of each alone. Raises UserError for a label that has not two classes,
    train rows of one class, values out of range, or more units than there are.
    """

    label: Literal["class", "number", "text", "steps"] | None = "class"

    def __init__(self, *, k: int = 7, candidates: int = 100, l2: float = 1e-3) -> None:
        if not 1 <= k <= candidates or l2 <= 0:
            raise UserError("k is 1 or more and at most `candidates`, l2 above 0", where="head neurons")
        self.k, self.candidates, self.l2 = k, candidates, l2

    def fit(self, problem: Problem) -> Outcome:
        train, test = problem.train, problem.test
        if len(problem.classes) != 2 or len(train.labels.unique()) != 2:
            raise UserError("units are ranked for two classes, both among the train rows", where="head neurons")
        if self.k > train.x.shape[1]:
            raise UserError(f"there are {train.x.shape[1]} units, not {self.k}", where="head neurons.k")
        x, y = train.x.double(), train.labels.double()
        mean, std = x.mean(0), x.std(0, correction=0)
        std = torch.where(std > 1e-6 * x.abs().amax(0), std, torch.ones_like(std))
        z = (x - mean) / std
        area = areas(z, train.labels == 1)
        ranked = (area - 0.5).abs().sort(stable=True, descending=True).indices[: self.candidates]
        chosen = greedy(z[:, ranked], y, self.k, self.l2)
        units = ranked[chosen]
        found = logistic(z[:, units].unsqueeze(0), y, self.l2)
        logit = ((test.x.double() - mean) / std)[:, units] @ found.weights[0] + found.bias[0]
        score = torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)], 1)
        details = {"units": units.tolist(), "train_auroc": area[units].tolist(), "weights": found.weights[0].tolist()}
        return Outcome(prediction=(logit > 0).long(), score=score, details=details)


@dataclass(frozen=True)
class Logistic:
    """weights (C, k), bias (C,), objective F (C,) of C regressions."""

    weights: Tensor
    bias: Tensor
    objective: Tensor


def areas(z: Tensor, positive: Tensor) -> Tensor:
    """The AUROC (D,) of each column of z (N, D), taken as a score of `positive` (N,) bool; ties count half."""
    low, high = z[~positive].sort(dim=0).values.T.contiguous(), z[positive].T.contiguous()
    below = torch.searchsorted(low, high) + torch.searchsorted(low, high, right=True)
    return below.double().mean(1) / (2 * low.shape[1])


def greedy(z: Tensor, y: Tensor, k: int, l2: float) -> Tensor:
    """k columns of z (N, C) in the order in which each lowers F most, beside those before it; y (N,) of 0 and 1."""
    chosen: list[int] = []
    for _ in range(k):
        left = [c for c in range(z.shape[1]) if c not in chosen]
        sets = torch.tensor([[*chosen, c] for c in left], device=z.device)
        objective = logistic(z.T[sets].transpose(1, 2), y, l2).objective
        chosen.append(left[int(objective.argmin())])
    return torch.tensor(chosen, device=z.device)


def logistic(z: Tensor, y: Tensor, l2: float) -> Logistic:
    """C regressions at once: z (C, N, k), y (N,) of 0 and 1. Newton's method, a step halved until F does not rise."""
    c, n, k = z.shape
    one = torch.cat([z, z.new_ones(c, n, 1)], 2)
    ridge = l2 * torch.ones(k + 1, dtype=z.dtype, device=z.device)
    ridge[-1] = 0.0

    def value(theta: Tensor) -> Tensor:
        logit = (one @ theta.unsqueeze(2)).squeeze(2)
        loss = torch.nn.functional.softplus(logit) - y * logit
        return loss.mean(1) + (ridge * theta.square()).sum(1) / 2

    theta = z.new_zeros(c, k + 1)
    now = value(theta)
    for _ in range(_STEPS):
        p = torch.sigmoid((one @ theta.unsqueeze(2)).squeeze(2))
        gradient = ((p - y).unsqueeze(1) @ one).squeeze(1) / n + ridge * theta
        if float(gradient.norm(dim=1).max()) < 1e-9:
            break
        curvature = (one * (p * (1 - p)).unsqueeze(2)).transpose(1, 2) @ one / n + torch.diag(ridge)
        curvature = curvature + 1e-12 * torch.eye(k + 1, dtype=z.dtype, device=z.device)
        step = torch.linalg.solve(curvature, gradient)
        rate = torch.ones_like(now)
        for _ in range(_HALVINGS):
            ahead = value(theta - rate.unsqueeze(1) * step)
            worse = ahead > now
            if not worse.any():
                break
            rate = torch.where(worse, rate / 2, rate)
        theta = torch.where(worse.unsqueeze(1), theta, theta - rate.unsqueeze(1) * step)
        now = torch.where(worse, now, ahead)
    return Logistic(theta[:, :-1], theta[:, -1], now)
