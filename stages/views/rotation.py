"""The four quarter turns of a picture, for the pretext of telling them apart."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, tensor
from stages.views.core import pictures, random
from stages.views.core.base import Key


@part
class Rotation:
    """data (B, ...) -> 4 pictures (B, C, H, W) in [0, 1]: x turned by 0, 90, 180 and 270 degrees, counter-clockwise.

    Gidaris, Singh and Komodakis 2018, "Unsupervised representation learning by predicting image rotations", sec. 3.1. All begin
    with the front end's x, moved by up to a share `translate` of its sides in whole pixels, its edges repeated, as in the views
    `cutpaste`. Raises UserError for media that are no square pictures or a `translate` out of its range.
    """

    def __init__(self, frontend: Frontend, *, translate: float = 0.0) -> None:
        if len(frontend.shape) != 3 or frontend.shape[1] != frontend.shape[2]:
            raise UserError(f"rotation takes square pictures, not x of shape {frontend.shape}", do="choose other views")
        if not 0 <= translate < 1:
            raise UserError(f"translate lies in 0 to 1, not at {translate:g}", where="views rotation")
        self.frontend, self.translate = frontend, translate

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = tensor(self.frontend(data, lengths))
        if self.translate > 0:
            side = x.shape[2]
            share = self.translate * (2 * random.uniform(random.stream(key.seed, key.epoch, key.sample, 0), 2) - 1)
            top, left = ((share * side).round() / side).unbind(1)
            one = torch.ones_like(top)
            x = pictures.crop(x, top, left, one, one, torch.zeros_like(top, dtype=torch.bool), (side, side))
        return [x.rot90(turns, (2, 3)) for turns in range(4)]
