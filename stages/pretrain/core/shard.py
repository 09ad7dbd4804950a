"""Tensors of which each rank holds a part: its rows, those of all ranks, norms over all ranks.

FSDP2 (torch.distributed.fsdp) makes a parameter a DTensor, cut along its first dimension; the last ranks may hold fewer rows,
or none. Any other tensor passes through these functions as it is. torch's own module is imported where there is a shard: it
takes a second or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stages.pretrain.core.distributed import world


def cut(x: Tensor) -> bool:
    """Whether the rank holds a part of x only."""
    return hasattr(x, "to_local")


def local(x: Any) -> Any:
    """What this rank holds of x; changing it in place changes x."""
    with torch.no_grad():
        return x.to_local() if cut(x) else x


def part(x: Tensor, like: Any) -> Tensor:
    """This rank's part of the whole tensor x, cut as `like` is."""
    if not cut(like):
        return x
    from torch.distributed.tensor import distribute_tensor

    here = x.to(like.device)
    found: Tensor = distribute_tensor(here, like.device_mesh, like.placements, src_data_rank=None).to_local()
    return found


def whole(x: Tensor, like: Any) -> Tensor:
    """The whole tensor, of which x is this rank's part, cut as `like` is: on rank 0, on the CPU; empty on the others.

    All ranks must call it, in one order.
    """
    if not cut(like):
        return x
    from torch.distributed.tensor import DTensor

    shape, stride = like.shape, like.stride()
    spread = DTensor.from_local(x, like.device_mesh, like.placements, run_check=False, shape=shape, stride=stride)
    found: Tensor = spread.full_tensor()
    return found.detach().cpu() if world().leads else x.new_empty(0)


def norms(parts: Sequence[Tensor]) -> list[Tensor]:
    """The Euclidean norms of tensors of which each rank holds a part: one message for all of them."""
    squares = torch.stack(torch._foreach_norm(list(parts))).square()
    dist.all_reduce(squares)
    return list(squares.sqrt().unbind())
