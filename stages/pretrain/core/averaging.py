"""Gradients averaged over the ranks in messages that travel while backward still runs.

Li et al. 2020, "PyTorch Distributed: experiences on accelerating data parallel training", sec. 3.2: parameters are put into
buckets in the reverse of their order, about that in which backward reaches them; a full bucket is sent at once.
torch's own DistributedDataParallel is not used: it wraps one module's forward, and an objective calls several methods of the
encoder, leaves parameters without gradient in some steps, and may be sharded in part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.pretrain.core import distributed

BUCKET = 4 << 20  # bytes of a message


@dataclass
class Bucket:
    """Parameters whose gradients travel together. waiting: how many backward has not reached; work: the message on its way."""

    parameters: list[nn.Parameter]
    waiting: int = 0
    gradients: list[Tensor] = field(default_factory=list)
    flat: Tensor | None = None
    work: Any = None


class Averaging:
    """`arm` before the last backward of a step, `finish` after it: then each gradient is the mean over the ranks.

    Ranks send buckets in one order, whatever order backward fills them in, and on a group of their own, so that they never
    cross with what a loss gathers. A parameter without gradient is left out; it must be so on all ranks. One process: nothing
    is done.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], most: int = BUCKET) -> None:
        self.buckets: list[Bucket] = []
        self._next, self._armed = 0, False
        if not distributed.running():
            return
        self._group = dist.new_group()
        for parameter in reversed(list(parameters)):
            room = self._room(parameter, most)
            bucket = room or Bucket([])
            if room is None:
                self.buckets.append(bucket)
            bucket.parameters.append(parameter)
            parameter.register_post_accumulate_grad_hook(lambda _, bucket=bucket: self._reached(bucket))

    def arm(self) -> None:
        """From here on a bucket is sent as soon as backward has reached all of its parameters."""
        self._next, self._armed = 0, True
        for bucket in self.buckets:
            bucket.waiting = len(bucket.parameters)

    def finish(self) -> None:
        """Sends what is left, waits, and puts the means in place of the gradients."""
        while self._next < len(self.buckets):
            self._send()
        self._armed = False
        for bucket in self.buckets:
            if bucket.work is None or bucket.flat is None:
                continue
            bucket.work.wait()
            bucket.flat /= dist.get_world_size()
            means = bucket.flat.split([g.numel() for g in bucket.gradients])
            for gradient, mean in zip(bucket.gradients, means, strict=True):
                gradient.copy_(mean.view_as(gradient))
            bucket.work, bucket.flat, bucket.gradients = None, None, []

    def _room(self, parameter: nn.Parameter, most: int) -> Bucket | None:
        """The bucket being filled, if the parameter fits."""
        if not self.buckets or self.buckets[-1].parameters[0].dtype != parameter.dtype:
            return None
        held = sum(p.numel() for p in self.buckets[-1].parameters) + parameter.numel()
        return self.buckets[-1] if held * parameter.element_size() <= most else None

    def _reached(self, bucket: Bucket) -> None:
        if not self._armed:
            return
        bucket.waiting -= 1
        while self._next < len(self.buckets) and not self.buckets[self._next].waiting:
            self._send()

    def _send(self) -> None:
        bucket = self.buckets[self._next]
        self._next += 1
        bucket.gradients = [p.grad for p in bucket.parameters if p.grad is not None]
        if bucket.gradients:
            bucket.flat = torch.cat([g.reshape(-1) for g in bucket.gradients])
            bucket.work = dist.all_reduce(bucket.flat, group=self._group, async_op=True)
