"""Batch norm whose statistics are those of all ranks' items."""

from __future__ import annotations

import functools

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stages.pretrain.core.distributed import gather, running


def synchronise_batch_norm(module: nn.Module) -> None:
    """Batch norm layers inside `module` take their statistics over all ranks. They keep their weights, buffers and names."""
    if not running():
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
    wide = x if x.dtype == torch.float64 else x.float()
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
