"""Several processes, one training: under torchrun every rank takes its share of each batch and the loss sees all of it.

Gradients: each rank computes the same loss from gathered embeddings and calls backward; the adjoint of gathering adds the
ranks' gradients, so a parameter's gradients average to the gradient of one process at the same batch.
Rank 0 alone holds the lock and writes; the others do their share of the maths.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
    return World(dist.get_rank(), dist.get_world_size()) if _running() else World()


def device(kind: str) -> torch.device:
    """`cpu`, or this rank's own card."""
    return torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)


def gather(x: Tensor) -> Tensor:
    """x (B, ...) of every rank, joined in rank order, (size * B, ...), with gradient. One process: x itself."""
    return _Gather.apply(x) if _running() else x


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


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Puts the mean over the ranks in place of each gradient: one message for all of them, after backward."""
    if not _running():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients])):
        gradient.copy_(mean.view_as(gradient))


def synchronise_batch_norm(module: nn.Module) -> None:
    """Batch norm layers inside `module` take their statistics over all ranks. They keep their weights, buffers and names."""
    if not _running():
        return
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.forward = functools.partial(_batch_norm, layer)  # type: ignore[method-assign]


def _batch_norm(layer: _BatchNorm, x: Tensor) -> Tensor:
    """x (B, C, ...): torch's own batch norm works across ranks on GPUs only; this one on every backend.

    Ranks hold equally many items, so the mean of their means is the mean, and the variance is the mean of their variances plus
    the variance of their means.
    """
    if not layer.training:
        return type(layer).forward(layer, x)
    dims, shape = [0, *range(2, x.dim())], [1, -1] + [1] * (x.dim() - 2)
    wide = x.float()
    var, mean = torch.var_mean(wide, dims, correction=0)
    means, variances = gather(torch.stack([mean, var])).view(-1, 2, len(mean)).unbind(1)
    var, mean = variances.mean(0) + means.var(0, correction=0), means.mean(0)
    if layer.track_running_stats and layer.running_mean is not None and layer.running_var is not None:
        count = dist.get_world_size() * x.numel() // x.shape[1]
        layer.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        momentum = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)  # type: ignore[arg-type]
        layer.running_mean.lerp_(mean.detach(), momentum)
        layer.running_var.lerp_(var.detach() * count / (count - 1), momentum)
    scale = (var + layer.eps).rsqrt()
    if layer.affine:
        scale = scale * layer.weight
    out = (wide - mean.view(shape)) * scale.view(shape)
    if layer.affine:
        out = out + layer.bias.view(shape)
    return out.to(x.dtype)


def announce(text: str) -> None:
    """Rank 0 tells the others (they `listen`)."""
    if _running():
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
    if _running():
        dist.barrier()


def main(lead: Callable[[], int], follow: Callable[[], None]) -> int:
    """Joins torchrun's ranks: rank 0 runs `lead` (the stage), the others `follow`. Returns the exit code."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(device("cuda"))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    try:
        if world().leads:
            return lead()
        follow()
    except UserError:
        return USER_MISTAKE  # rank 0 meets the same mistake and tells the user
    finally:
        dist.destroy_process_group()
    return 0


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def _message_device() -> torch.device:
    return device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")
