"""Optimisers and the schedule of the learning rate.

AdamW and SGD are those of torch.optim to the last bits (a test compares them), written again because a torch.optim optimiser
imports torch's compiler when it is made: one to two seconds in every process of every seed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stages.common.plan import OptimPlan
from stages.pretrain.core import shard

EPSILON = 1e-8  # AdamW's
TRUST = 1e-3  # LARS' coefficient


@dataclass(frozen=True)
class Group:
    """Parameters treated alike. adapted: LARS gives each its own rate. cut: a rank holds a part of each."""

    parameters: dict[str, nn.Parameter]
    decay: float
    adapted: bool
    cut: bool


class Optimiser(ABC):
    """Updates named parameters from their gradients; those without one are left alone.

    Biases and the scales of normalisation (parameters of one dimension or none) are neither decayed nor, by LARS, adapted,
    unless `decay_norm_and_bias` says so. A rank updates what it holds of a sharded parameter.
    """

    slots: Sequence[str] = ()  # names of the tensors kept for each parameter

    def __init__(self, plan: OptimPlan, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        self.plan, self.done = plan, 0
        named = dict(parameters)
        matrices = {n: p for n, p in named.items() if p.dim() > 1 or plan.decay_norm_and_bias}
        vectors = {n: p for n, p in named.items() if n not in matrices}
        self.groups = [
            Group({n: p for n, p in alike.items() if shard.cut(p) == cut}, decay, adapted, cut)
            for alike, decay, adapted in ((matrices, plan.weight_decay, True), (vectors, 0.0, False))
            for cut in (False, True)
        ]
        self.parameters = named
        self.kept = {slot: {n: torch.zeros_like(shard.local(p)) for n, p in named.items()} for slot in self.slots}

    @torch.no_grad()
    def step(self, lr: float) -> None:
        self.done += 1
        for group in self.groups:
            names = [n for n, p in group.parameters.items() if p.grad is not None]
            if names:
                weights = [shard.local(group.parameters[n]) for n in names]
                gradients = [shard.local(group.parameters[n].grad) for n in names]
                kept = {slot: [tensors[n] for n in names] for slot, tensors in self.kept.items()}
                self.update(group, weights, gradients, kept, lr)

    @abstractmethod
    def update(self, group: Group, w: list[Any], g: list[Tensor], kept: dict[str, list[Tensor]], lr: float) -> None:
        """Changes the weights w in place, given their gradients g and kept tensors."""

    def clear(self) -> None:
        """Drops the gradients."""
        for group in self.groups:
            for parameter in group.parameters.values():
                parameter.grad = None

    def state(self) -> dict[str, Any]:
        """Of all parameters as a whole, on rank 0 at least; all ranks must ask for it."""
        kept = {s: {n: shard.whole(t, self.parameters[n]) for n, t in tensors.items()} for s, tensors in self.kept.items()}
        return {"done": self.done, **kept}

    def load(self, state: dict[str, Any]) -> None:
        """Copies into the tensors at hand, so that they keep their layout in memory."""
        self.done = state["done"]
        for slot, tensors in self.kept.items():
            for name, tensor in tensors.items():
                tensor.copy_(shard.part(state[slot][name], self.parameters[name]))


class AdamW(Optimiser):
    """Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2, with the decay scaled by the rate."""

    slots = ("first", "second")

    def update(self, group: Group, w: list[Any], g: list[Tensor], kept: dict[str, list[Tensor]], lr: float) -> None:
        first, second = kept["first"], kept["second"]
        beta1, beta2 = self.plan.betas
        torch._foreach_mul_(w, 1 - lr * group.decay)
        torch._foreach_lerp_(first, g, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, g, g, 1 - beta2)
        scale = torch._foreach_sqrt(second)
        torch._foreach_div_(scale, math.sqrt(1 - beta2**self.done))
        torch._foreach_add_(scale, EPSILON)
        torch._foreach_addcdiv_(w, first, scale, -lr / (1 - beta1**self.done))


class SGD(Optimiser):
    """v <- momentum v + g + decay w, w <- w - lr v."""

    slots = ("velocity",)

    def update(self, group: Group, w: list[Any], g: list[Tensor], kept: dict[str, list[Tensor]], lr: float) -> None:
        velocity = kept["velocity"]
        torch._foreach_mul_(velocity, self.plan.momentum)
        torch._foreach_add_(velocity, torch._foreach_add(g, w, alpha=group.decay))
        torch._foreach_add_(w, velocity, alpha=-lr)


class LARS(Optimiser):
    """Layer-wise adaptive rates. You, Gitman and Ginsburg 2017, "Large batch training of convolutional networks", algorithm 1.

    v <- momentum v + lr * local * (g + decay w), w <- w - v, with local = TRUST |w| / (|g| + decay |w|) for each weight tensor
    of an `adapted` group, 1 elsewhere and where a norm is 0.
    """

    slots = ("velocity",)

    def update(self, group: Group, w: list[Any], g: list[Tensor], kept: dict[str, list[Tensor]], lr: float) -> None:
        velocity = kept["velocity"]
        change = torch._foreach_add(g, w, alpha=group.decay)
        if group.adapted:
            norms = shard.norms if group.cut else torch._foreach_norm
            for d, weight, gradient in zip(change, norms(w), norms(g)):
                local = TRUST * weight / (gradient + group.decay * weight)
                d *= torch.where((weight > 0) & (gradient > 0), local, 1.0)  # no read-back: the device need not wait
        torch._foreach_mul_(velocity, self.plan.momentum)
        torch._foreach_add_(velocity, change, alpha=lr)
        torch._foreach_sub_(w, velocity)


KINDS: dict[str, type[Optimiser]] = {"adamw": AdamW, "sgd": SGD, "lars": LARS}


def rate(plan: OptimPlan, step: int, steps: int) -> float:
    """The learning rate of step 0 .. steps - 1: linear warm-up over a share `warmup` of the steps, then cosine or constant.

    Cosine: from lr down to final_lr * lr, lr (f + (1 - f) (1 + cos(pi t)) / 2) with t from 0 to 1 (Loshchilov and Hutter 2017).
    """
    warmup = math.ceil(plan.warmup * steps)
    if step < warmup:
        return plan.lr * (step + 1) / warmup
    if plan.schedule == "constant":
        return plan.lr
    share = (step - warmup) / max(1, steps - warmup)
    return plan.lr * (plan.final_lr + (1 - plan.final_lr) * (1 + math.cos(math.pi * share)) / 2)
