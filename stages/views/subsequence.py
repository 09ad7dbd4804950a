"""Random stretches of a sequence of events: the views of CoLES."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input
from stages.views.core import random
from stages.views.core.base import Key


@part
class Subsequence:
    """data (B, T, 3) of events, lengths (B,) -> `views` x_v (B, 4, longest), `Padded`: events that follow one another.

    Babaev et al. 2022, "CoLES: Contrastive Learning for Event Sequences with Self-Supervision", sec. 3.2 and algorithm 1:
    random slices, of a length uniform in `shortest` .. `longest` events, or as many as there are, and a start uniform among
    those that fit. The paper draws lengths up to the whole sequence and keeps those in range: the same distribution.

    Raises UserError for arguments out of their range, ContractError for media that are no events.
    """

    def __init__(self, frontend: Frontend, *, views: int = 5, shortest: int = 10, longest: int = 30) -> None:
        where = "views subsequence"
        if frontend.contract["kind"] != "events":
            raise ContractError(f"{where} takes events, not {frontend.contract['kind']}", do="choose other views")
        if views < 1 or not 1 <= shortest <= longest:
            raise UserError(f"views {views}, lengths {shortest} to {longest}: write 1 or more, in this order", where=where)
        self.frontend, self.views, self.shortest, self.longest = frontend, views, shortest, longest

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        if lengths is None:
            lengths = torch.full((len(data),), data.shape[1], dtype=torch.int64, device=data.device)
        draws = random.uniform(random.of_views(key, self.views), 2)
        lengths = lengths.repeat(self.views)
        start, count = stretches(lengths, draws, self.shortest, self.longest)
        place = torch.arange(min(self.longest, data.shape[1]), device=data.device)
        index = (start[:, None] + place).clamp_max(data.shape[1] - 1)
        item = torch.arange(len(data), device=data.device).repeat(self.views)
        x = data[item[:, None], index]
        x = torch.where((place < count[:, None])[..., None], x, 0.0)
        b = len(data)
        return [self.frontend(x[v * b : (v + 1) * b], count[v * b : (v + 1) * b]) for v in range(self.views)]


def stretches(lengths: Tensor, draws: Tensor, shortest: int, longest: int) -> tuple[Tensor, Tensor]:
    """lengths (N,), draws (N, 2) uniform in [0, 1) -> start (N,), count (N,) int64 of one stretch of each sequence."""
    high = lengths.clamp_max(longest)
    low = lengths.clamp_max(shortest)
    count = low + (draws[:, 0] * (high - low + 1)).long().minimum(high - low)
    start = (draws[:, 1] * (lengths - count + 1)).long().minimum(lengths - count)
    return start, count
