"""Slow reference of a residual network of bottleneck blocks: NumPy and SciPy in float64 on its named weights."""

from __future__ import annotations

import numpy as np

from tests.oracles.networks import Weights, batch_norm, convolve


def resnet(x: np.ndarray, w: Weights, blocks: tuple[int, ...]) -> list[np.ndarray]:
    """x (C, H, W) -> each stage's output (C_l, H_l, W_l)."""
    x = np.maximum(batch_norm(convolve(x, w["stem.0.weight"], 1, 1), w, "stem.1"), 0)
    outputs = []
    for stage, count in enumerate(blocks):
        for block in range(count):
            name, stride = f"stages.{stage}.{block}", 2 if stage > 0 and block == 0 else 1
            narrow = np.maximum(batch_norm(convolve(x, w[f"{name}.residual.0.weight"], 1, 0), w, f"{name}.residual.1"), 0)
            middle = convolve(narrow, w[f"{name}.residual.3.weight"], stride, 1)
            middle = np.maximum(batch_norm(middle, w, f"{name}.residual.4"), 0)
            wide = batch_norm(convolve(middle, w[f"{name}.residual.6.weight"], 1, 0), w, f"{name}.residual.7")
            if block == 0:  # the first block of each stage changes the shape
                x = batch_norm(convolve(x, w[f"{name}.shortcut.0.weight"], stride, 0), w, f"{name}.shortcut.1")
            x = np.maximum(x + wide, 0)
        outputs.append(x)
    return outputs
