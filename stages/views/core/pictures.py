"""Operations on batches of pictures x (B, C, H, W) in [0, 1], one strength per picture, without loops over the batch.

Strength zero leaves a picture as it is. Pictures of one channel are grey: saturation and hue do not change them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def crop(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, flipped: Tensor, size: tuple[int, int]) -> Tensor:
    """Cuts a window from each picture, resizes it to `size` bilinearly and mirrors it left to right where `flipped`.

    top, left, height, width: (B,) as shares of the picture. Pixel centres lie at (i + 0.5) / H. One sampling does all three.
    """
    rows = (torch.arange(size[0], device=x.device) + 0.5) / size[0]
    columns = (torch.arange(size[1], device=x.device) + 0.5) / size[1]
    across = torch.where(flipped.unsqueeze(1), 1 - columns, columns)  # (B, W)
    vertical = 2 * (top.unsqueeze(1) + height.unsqueeze(1) * rows) - 1
    horizontal = 2 * (left.unsqueeze(1) + width.unsqueeze(1) * across) - 1
    shape = (len(x), *size)
    grid = torch.stack([horizontal.unsqueeze(1).expand(shape), vertical.unsqueeze(2).expand(shape)], dim=-1)
    return grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor, cut to [0, 1]; factor (B,)."""
    return (x * _each(factor)).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Blends each picture with its mean grey: m + factor * (x - m), cut to [0, 1]; factor (B,)."""
    mean = grey(x).mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(mean, x, _each(factor)).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Blends each pixel with its grey: g + factor * (x - g), cut to [0, 1]; factor (B,)."""
    if x.shape[1] == 1:
        return x
    return torch.lerp(grey(x), x, _each(factor)).clamp_(0, 1)


def hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue of RGB pictures by `shift` (B,), in turns of the circle, at fixed saturation and value (HSV).

    Channel n in (5, 3, 1) is V - (V - min) * clamp(min(k, 4 - k), 0, 1) with k = (n + 6 h) mod 6 (Smith 1978's hexcone).
    """
    if x.shape[1] == 1:
        return x
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    red, green, blue = x.unbind(1)
    sector = torch.where(
        value == red, (green - blue), torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    )
    turn = sector / chroma.clamp_min(1e-12) + 6 * shift.view(-1, 1, 1)  # grey pixels have chroma 0: any hue will do
    out = torch.empty_like(x)
    for channel, n in enumerate((5, 3, 1)):
        k = torch.remainder(turn + n, 6)
        torch.sub(value, chroma * torch.minimum(k, 4 - k).clamp_(0, 1), out=out[:, channel])
    return out


def grey(x: Tensor) -> Tensor:
    """The luma of each pixel, (B, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue


def blur(x: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur of standard deviation sigma (B,) in pixels, cut at `radius`, mirrored at the border; sigma 0: none."""
    batch, channels, height, width = x.shape
    radius = min(radius, height - 1, width - 1)
    offset = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.exp(-0.5 * (offset / sigma.clamp_min(1e-3).unsqueeze(1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    weight = kernel.repeat_interleave(channels, dim=0).unsqueeze(1)  # one kernel per picture and channel
    flat = pad(x, (radius,) * 4, mode="reflect").reshape(1, batch * channels, height + 2 * radius, width + 2 * radius)
    flat = conv2d(flat, weight.unsqueeze(2), groups=batch * channels)
    flat = conv2d(flat, weight.unsqueeze(3), groups=batch * channels)
    return flat.reshape(x.shape)


def _each(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1, 1)
