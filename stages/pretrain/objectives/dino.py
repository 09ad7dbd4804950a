"""DINO: a student matches, across views, the assignments of a teacher that is its own running average."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.transformer import initialise
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective, Still, follow
from stages.pretrain.core.precision import full_precision


@part
class DINO(Objective):
    """Caron et al. 2021, "Emerging properties in self-supervised vision transformers", sec. 3.1 and algorithm 1.

    total: `cross_entropy` of the student's views against the teacher's, of which the teacher sees the first `global_views`
    alone; the views after them may be of another size. entropy: of the teacher's mean assignment over the batch and the
    global views, in nats: 0 where all items fall to one output, log `out` where all outputs are used alike.
    teacher: the average of encoder and head, momentum from `momentum` to 1 by a cosine; it becomes the encoder. Its outputs are
    centred by a running mean of `centre_momentum` and sharpened: its temperature rises linearly from teacher_temperature[0]
    to [1] over a share `warmup` of the steps (30 of 100 epochs). head: `layers` linear maps with GELU, `hidden` wide, to
    `bottleneck`, unit length, then `out` unit vectors, which stay as they are for a share `frozen` of the steps (one epoch).
    Raises UserError for fewer than two views or than `global_views`, and for arguments out of their range.
    """

    centre: Tensor
    seen: Tensor
    batches: Tensor
    done: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        global_views: int = 2,
        out: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        temperature: float = 0.1,
        teacher_temperature: tuple[float, float] = (0.04, 0.07),
        warmup: float = 0.3,
        momentum: float = 0.996,
        centre_momentum: float = 0.9,
        frozen: float = 0.01,
    ) -> None:
        super().__init__()
        if temperature <= 0 or min(teacher_temperature) <= 0:
            raise UserError("every temperature must be above 0", where="objective dino")
        for name, share in {
            "warmup": warmup,
            "momentum": momentum,
            "centre_momentum": centre_momentum,
            "frozen": frozen,
        }.items():
            if not 0 <= share <= 1:
                raise UserError(f"{name} lies between 0 and 1, not at {share:g}", where="objective dino")
        if min(global_views, out, hidden, bottleneck, layers) < 1:
            raise UserError("global_views, out, hidden, bottleneck and layers must be 1 or more", where="objective dino")
        self.global_views, self.temperature, self.teacher_temperature = global_views, temperature, teacher_temperature
        self.warmup, self.momentum, self.centre_momentum, self.frozen = warmup, momentum, centre_momentum, frozen
        self.head = Head(encoder.width, hidden, bottleneck, out, layers)
        self.teacher, self.teacher_head = Still(copy.deepcopy(encoder)), Still(copy.deepcopy(self.head))
        self.register_buffer("centre", torch.zeros(out))
        self.register_buffer("seen", torch.zeros(out))  # the teacher's mean outputs since the last step, summed over batches
        self.register_buffer("batches", torch.zeros(()))
        self.register_buffer("done", torch.zeros(()))  # share of the steps

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "dino")
        if len(batch.views) < self.global_views:
            raise UserError(
                f"objective dino takes {self.global_views} global views, there are {len(batch.views)}", where="objective dino"
            )
        self.head.still = bool(self.done < self.frozen)
        whole, part = batch.views[: self.global_views], batch.views[self.global_views :]
        with torch.no_grad():
            teacher = embed(self.teacher, self.teacher_head, whole)  # type: ignore[arg-type]
        student = embed(encoder, self.head, whole) + (embed(encoder, self.head, part) if part else [])
        warm = ramp(*self.teacher_temperature, self.warmup, float(self.done))
        total = cross_entropy(student, teacher, self.centre, temperature=self.temperature, teacher_temperature=warm)
        if self.training:
            self.seen += torch.stack([t.float().mean(0) for t in teacher]).mean(0)
            self.batches += 1
        return {"total": total, "entropy": entropy(teacher, self.centre, temperature=warm)}

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        moved = momentum(self.momentum, step - 1, steps)
        follow(self.teacher.module, encoder, moved)
        follow(self.teacher_head.module, self.head, moved)
        self.centre.copy_(recentred(self.centre, self.seen / self.batches.clamp_min(1), self.centre_momentum))
        self.seen.zero_()
        self.batches.zero_()
        self.done.fill_(step / steps)

    def exported(self, encoder: Encoder) -> Encoder:
        averaged: Encoder = self.teacher.module  # type: ignore[assignment]
        return averaged


class Head(nn.Module):
    """h (B, width) -> cosines (B, out) of the bottleneck's unit vector with `out` unit vectors.

    DINO, appendix C: the last layer is weight-normalised with its norms fixed at 1. still: it takes no gradient.
    """

    def __init__(self, width: int, hidden: int, bottleneck: int, out: int, layers: int) -> None:
        super().__init__()
        sizes = [width, *[hidden] * (layers - 1), bottleneck]
        maps: list[nn.Module] = []
        for inner, outer in pairwise(sizes):
            maps += [nn.Linear(inner, outer), nn.GELU()]
        self.mlp = nn.Sequential(*maps[:-1])
        self.last = nn.Parameter(torch.empty(out, bottleneck))
        self.still = False
        initialise(self.mlp)
        nn.init.trunc_normal_(self.last, std=0.02, a=-0.04, b=0.04)

    def forward(self, h: Tensor) -> Tensor:
        last = self.last.detach() if self.still else self.last
        return F.linear(F.normalize(self.mlp(h), dim=1), F.normalize(last, dim=1))


@full_precision
def cross_entropy(
    student: Sequence[Tensor], teacher: Sequence[Tensor], centre: Tensor, *, temperature: float, teacher_temperature: float
) -> Tensor:
    """Mean over items and pairs (t, s), s != t, of H(softmax((T_t - centre) / tau_t), softmax(S_s / tau_s)), a scalar.

    Caron et al. 2021, eq. 3 and algorithm 1. student: S of V views (N, K); teacher: T of the first of them; centre (K,).
    """
    targets = [((t - centre) / teacher_temperature).softmax(1).detach() for t in teacher]
    logs = [(s.float() / temperature).log_softmax(1) for s in student]
    terms = [-(p * log).sum(1).mean() for t, p in enumerate(targets) for s, log in enumerate(logs) if s != t]
    return torch.stack(terms).mean()


@full_precision
def entropy(teacher: Sequence[Tensor], centre: Tensor, *, temperature: float) -> Tensor:
    """Entropy in nats of the mean of softmax((T - centre) / tau) over items and views T (N, K)."""
    mean = torch.stack([((t - centre) / temperature).softmax(1).mean(0) for t in teacher]).mean(0)
    return -torch.special.xlogy(mean, mean).sum()


def recentred(centre: Tensor, mean: Tensor, momentum: float) -> Tensor:
    """momentum centre + (1 - momentum) mean, (K,): eq. 4, with the mean of the teacher's outputs over items and views."""
    return momentum * centre + (1 - momentum) * mean


def momentum(start: float, step: int, steps: int) -> float:
    """The teacher's momentum at step 0 .. steps - 1: 1 - (1 - start) (1 + cos(pi step / steps)) / 2 (sec. 3.1)."""
    return 1 - (1 - start) * (1 + math.cos(math.pi * step / steps)) / 2


def ramp(first: float, last: float, over: float, done: float) -> float:
    """From first to last, linearly in `done` (share of the steps), reached at the share `over`."""
    return last if done >= over else first + (last - first) * done / over
