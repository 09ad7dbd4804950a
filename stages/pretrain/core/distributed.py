"""Several processes, one training: every rank takes its share of each batch and the loss sees all of it.

Gradients: each rank computes the same loss from gathered embeddings and calls backward; the adjoint of gathering adds the
ranks' gradients, so a parameter's gradients average to the gradient of one process at the same batch. A loss that is a mean
over items needs no gathering: the mean of the ranks' means is the mean.
Rank 0 alone writes; the others do their share of the maths.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stages.common.errors import USER_MISTAKE, UserError

PATIENCE = timedelta(hours=2)  # ranks wait while rank 0 decodes the corpus or waits for the lock


@dataclass(frozen=True)
class World:
    """This process's place among `size` ranks."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, index: Tensor) -> Tensor:
        """This rank's consecutive part of a batch's index (B,), so that gathering restores the batch's order."""
        each = len(index) // self.size
        return index[self.rank * each : (self.rank + 1) * each]


def world() -> World:
    """This process's place among torchrun's ranks; alone without them."""
    return World(dist.get_rank(), dist.get_world_size()) if running() else World()


def device(kind: str) -> torch.device:
    """`cpu`, or this rank's own card."""
    return torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)


def gather(x: Tensor) -> Tensor:
    """x (B, ...) of every rank, joined in rank order, (size * B, ...), with gradient. One process: x itself."""
    return _Gather.apply(x) if running() else x


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def mean(x: Tensor) -> Tensor:
    """The mean of x over the ranks, without gradient. One process: x itself."""
    if not running():
        return x
    found = x.detach().clone()
    dist.all_reduce(found)
    return found / dist.get_world_size()


def balance(count: Tensor | int) -> Tensor | float:
    """What a mean over `count` things of this rank is multiplied by, so that the ranks' mean is that over all their things.

    For means over tokens, of which ranks hold unequally many: count / its mean over the ranks. One process: 1.
    """
    if not running():
        return 1.0
    here = torch.as_tensor(count, dtype=torch.float32, device=_message_device())
    return here / mean(here).clamp_min(1 / dist.get_world_size())


def every(x: Tensor) -> Tensor:
    """x of every rank, stacked in rank order (size, ...), where x was; without gradient."""
    if not running():
        return x.unsqueeze(0)
    sent = x.detach().to(_message_device()).contiguous()
    parts = [torch.empty_like(sent) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, sent)
    return torch.stack(parts).to(x.device)


def announce(text: str) -> None:
    """Rank 0 tells the others (they `listen`)."""
    if running():
        data = torch.tensor(list(text.encode()), dtype=torch.uint8, device=_message_device())
        dist.broadcast(torch.tensor(len(data), device=data.device), 0)
        dist.broadcast(data, 0)


def listen() -> str:
    """The text that rank 0 tells."""
    size = torch.zeros((), dtype=torch.int64, device=_message_device())
    dist.broadcast(size, 0)
    data = torch.empty(int(size), dtype=torch.uint8, device=size.device)
    dist.broadcast(data, 0)
    return bytes(data.tolist()).decode()


def barrier() -> None:
    """Waits for all ranks."""
    if running():
        dist.barrier()


@contextlib.contextmanager
def joined(kind: str, meeting: str | None = None) -> Iterator[World]:
    """Within this block the process is one of the ranks, over NCCL for `cuda`, else gloo.

    meeting: the address at which ranks find each other, such as file:///path; default: what torchrun put into the environment.
    """
    if kind == "cuda":
        torch.cuda.set_device(device("cuda"))
    place = {} if meeting is None else {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    dist.init_process_group("nccl" if kind == "cuda" else "gloo", meeting, PATIENCE, **place)  # type: ignore[arg-type]
    try:
        yield world()
    finally:
        dist.destroy_process_group()


def main(lead: Callable[[], int], follow: Callable[[], None]) -> int:
    """Joins torchrun's ranks: rank 0 runs `lead` (the stage), the others `follow`. Returns the exit code."""
    try:
        with joined("cuda" if torch.cuda.is_available() else "cpu") as place:
            if place.leads:
                return lead()
            follow()
    except UserError:
        return USER_MISTAKE  # rank 0 meets the same mistake and tells the user
    return 0


def running() -> bool:
    """Whether this process is one of several ranks, or of one that torchrun started."""
    return dist.is_available() and dist.is_initialized()


def _message_device() -> torch.device:
    return device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
