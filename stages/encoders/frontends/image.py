"""Images: uint8 pictures to floating point, resized if asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend

_SIDE = 32  # of encoded images where nobody says a size: such files may each have their own


@part
class Image(Frontend):
    """uint8 (B, H, W, C) -> float32 (B, C, H, W) in [0, 1].

    height, width: of x, in pixels. Default: the column's shape (encoded images without one: 32). Encoded images are resized
    as they are decoded (bicubic), stored pixels here (bilinear, antialiased).
    channels: 1 or 3 for encoded images (default 3), which are converted as they are decoded; stored pixels keep theirs.

    Raises ContractError for a column that holds no images or pixels with another number of channels.
    """

    def __init__(
        self, column: Column, assets: Path, *, height: int | None = None, width: int | None = None, channels: int | None = None
    ) -> None:
        if column.kind not in ("image", "pixels"):
            raise ContractError(
                f"column {column.name!r} holds {column.kind}, the front end `image` takes image or pixels",
                do="choose another `media:` column or the front end of its kind",
            )
        stored = list(column.shape or [_SIDE, _SIDE, 3])
        encoded = column.kind == "image"
        depth = channels or stored[2]
        if not encoded and depth != stored[2]:
            raise ContractError(f"column {column.name!r} has {stored[2]} channels, not {depth}", do="leave `channels` out")
        if encoded and depth not in (1, 3):
            raise ContractError(f"encoded images are read with 1 or 3 channels, not {depth}", where=f"column {column.name}")
        self.height, self.width = height or stored[0], width or stored[1]
        if min(self.height, self.width) < 1:
            raise UserError(
                f"column {column.name!r} has images of varying size", do="set `height` and `width` of the front end"
            )
        decoded = [self.height, self.width] if encoded else stored[:2]
        self.contract: dict[str, Any] = {"kind": "image", "height": decoded[0], "width": decoded[1], "channels": depth}
        self.shape: tuple[int, ...] = (depth, self.height, self.width)

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = data.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        if x.shape[2:] != self.shape[1:]:
            x = F.interpolate(x, self.shape[1:], mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
        return x
