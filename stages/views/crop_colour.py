"""Random crops, flips and colours of pictures: the views of SimCLR."""

from __future__ import annotations

from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, tensor
from stages.views.core import random
from stages.views.core.augmentation import DRAWS, Augmentation, check_pictures
from stages.views.core.base import Key


@part
class CropColour:
    """data (B, ...) -> `views` pictures (B, C, H, W) in [0, 1]. Chen et al. 2020, "SimCLR", appendix A.

    In this order: a window of `area` (share of the picture) and aspect `ratio`, both uniform (the ratio in its logarithm),
    resized to H = W = `side` pixels (null, as in the paper: the picture's own H and W); mirrored with probability `flip`; with
    probability `jitter_p` brightness, contrast and saturation scaled by U(1 - 0.8 s, 1 + 0.8 s) and the hue turned by
    U(-0.2 s, 0.2 s), where s = `jitter`, always in that order; grey with probability `grey`; blurred with probability `blur`,
    sigma U(`sigma`) pixels at 224 pixels of height and in proportion below. Greyscale pictures skip saturation, hue and grey.
    Switch `flip` off where left and right matter, as in digits. A smaller `side` makes pretraining cheaper, by its square.

    Raises UserError for arguments out of their range or media that are no pictures.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        views: int = 2,
        area: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        jitter: float = 1.0,
        jitter_p: float = 0.8,
        grey: float = 0.2,
        blur: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
        side: int | None = None,
    ) -> None:
        check_pictures(frontend, "crop_colour")
        if views < 1:
            raise UserError(f"there must be one view at least, not {views}", where="views crop_colour")
        if side is not None and side < 2:
            raise UserError(f"views of side {side} are no pictures", where="views crop_colour.side", do="write 2 or more")
        self.augmentation = Augmentation(area, ratio, flip, jitter, jitter_p, grey, blur, sigma)
        self.augmentation.check("views crop_colour")
        self.frontend, self.views, self.side = frontend, views, side

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = tensor(self.frontend(data, lengths))
        shape = (x.shape[2], x.shape[3]) if self.side is None else (self.side, self.side)
        draws = random.uniform(random.of_views(key, self.views), DRAWS)  # (V * B, draws)
        return list(self.augmentation(x.repeat(self.views, 1, 1, 1), draws, shape, shape[0]).chunk(self.views))
