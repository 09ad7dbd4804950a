"""MoCo: a view finds its other view, as a slowly moving average of the encoder sees it, among a queue of earlier ones."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.projector import Projector
from stages.pretrain.core.embedding import at_least_two, embed
from stages.pretrain.core.objective import Batch, Objective, Still, follow
from stages.pretrain.core.precision import full_precision
from stages.pretrain.core.queue import Queue


@part
class MoCo(Objective):
    """He et al. 2020, "Momentum contrast for unsupervised visual representation learning", eq. 1 and 2, algorithm 1.

    total: InfoNCE of the first view's queries against the second view's keys, with the last `queue` keys as negatives, at
    `temperature`. Keys come from averages of encoder and projector of momentum `momentum`. The projector is v2's (Chen et
    al. 2020, "Improved baselines with momentum contrastive learning", sec. 3); v2's temperature is 0.2. Batch norm is not
    shuffled between devices: it takes statistics over all ranks. Raises UserError for one view or arguments out of their range.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float = 0.07,
        queue: int = 65536,
        momentum: float = 0.999,
        hidden: int | None = None,
        out: int = 128,
    ) -> None:
        super().__init__()
        if temperature <= 0 or queue < 1 or not 0 <= momentum <= 1:
            do = "temperature above 0, queue of 1 or more, momentum between 0 and 1"
            raise UserError("an argument is out of its range", where="objective moco", do=do)
        self.temperature, self.momentum = temperature, momentum
        self.projector = Projector("mlp", encoder.width, hidden or encoder.width, out)
        self.momentum_encoder, self.momentum_projector = Still(copy.deepcopy(encoder)), Still(copy.deepcopy(self.projector))
        self.queue = Queue(queue, out)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        at_least_two(batch, "moco")
        (query,) = embed(encoder, self.projector, batch.views[:1])
        with torch.no_grad():
            (key,) = embed(self.momentum_encoder, self.momentum_projector, batch.views[1:2])  # type: ignore[arg-type]
            key = normalize(key.float(), dim=1)
        total = info_nce(query, key, self.queue.kept, temperature=self.temperature)
        if self.training:
            self.queue.hold(key)
        return {"total": total}

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        follow(self.momentum_encoder.module, encoder, self.momentum)
        follow(self.momentum_projector.module, self.projector, self.momentum)
        self.queue.turn()


@full_precision
def info_nce(query: Tensor, key: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """Mean over items of -log exp(cos(q, k+) / t) / (exp(cos(q, k+) / t) + sum_n exp(cos(q, n) / t)), a scalar.

    He et al. 2020, "MoCo", eq. 1. query, key (B, D) of the same items; negatives (N, D), the same for all.
    """
    q, k, n = (normalize(z, dim=1) for z in (query, key, negatives))
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ n.T], dim=1) / temperature
    return cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))
