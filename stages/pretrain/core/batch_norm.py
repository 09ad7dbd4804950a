"""Batch norm whose statistics are those of all ranks' items."""

from __future__ import annotations

import functools
from typing import Any

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
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    with torch.no_grad():
        # The kernel of one process; torch.var_mean takes ten times as long.
        mean, var = torch.batch_norm_update_stats(wide, None, None, 0.0)
        means, variances = gather(torch.stack([mean, var])).view(-1, 2, len(mean)).unbind(1)
        var, mean = variances.mean(0) + means.var(0, correction=0), means.mean(0)
    if layer.track_running_stats and layer.running_mean is not None and layer.running_var is not None:
        count = dist.get_world_size() * x.numel() // x.shape[1]
        layer.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        momentum = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)  # type: ignore[arg-type]
        layer.running_mean.lerp_(mean, momentum)
        layer.running_var.lerp_(var * count / (count - 1), momentum)
    weight, bias = (layer.weight, layer.bias) if layer.affine else (torch.ones_like(mean), torch.zeros_like(mean))
    out: Tensor = _Normalise.apply(wide, weight, bias, mean, var, layer.eps)
    return out.to(x.dtype)


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) weight + bias, with mean and var (C,) those of x over all ranks, by torch's fused kernels.

    With g the gradient and z the normalised x: weight / sqrt(var + eps) (g - mean of g - z mean of g z), means over all ranks.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps = eps
        return torch.nn.functional.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        scale = (var + ctx.eps).rsqrt()
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            g, x, weight, mean, var, mean, scale, False, ctx.eps, [False, True, True]
        )
        sums = torch.stack([by_bias, by_weight])
        dist.all_reduce(sums)
        of_g, of_gz = sums / (dist.get_world_size() * x.numel() // x.shape[1])
        gain = weight * scale
        slope = gain * scale * of_gz
        offset = gain * of_g - slope * mean
        by_x = _affine(x, -slope, -offset).addcmul_(g, gain.view([1, -1] + [1] * (x.dim() - 2)))
        return by_x, by_weight, by_bias, None, None, None


def _affine(x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """x (B, C, ...) times slope (C,) plus offset (C,): batch norm's kernel is several times as fast as broadcasting."""
    return torch.nn.functional.batch_norm(x, torch.zeros_like(slope), torch.ones_like(slope), slope, offset, False, 0.0, 0.0)
