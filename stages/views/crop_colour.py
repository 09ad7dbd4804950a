"""Random crops, flips and colours of pictures: the views of SimCLR."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, tensor
from stages.views.core import pictures, random
from stages.views.core.base import Key

ATTEMPTS = 10  # windows drawn before one that does not fit is cut to the picture
# Where each operation's draws lie in a view's stream: switching one off leaves the others' numbers as they were.
_AREA, _RATIO = slice(0, ATTEMPTS), slice(ATTEMPTS, 2 * ATTEMPTS)
_TOP, _LEFT, _FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GREY, _BLUR, _SIGMA = range(
    2 * ATTEMPTS, 2 * ATTEMPTS + 11
)
_DRAWS = 2 * ATTEMPTS + 11


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
        if len(frontend.shape) != 3 or frontend.shape[0] not in (1, 3):
            raise UserError(
                f"crop_colour takes pictures of 1 or 3 channels, not x of shape {frontend.shape}", do="choose other views"
            )
        for name, value in {"flip": flip, "jitter_p": jitter_p, "grey": grey, "blur": blur}.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} is a probability, not {value:g}", where="views crop_colour")
        if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1] or not 0 <= sigma[0] <= sigma[1]:
            raise UserError(
                f"no range: area {area}, ratio {ratio} or sigma {sigma}", where="views crop_colour", do="write [low, high]"
            )
        if jitter < 0 or views < 1:
            raise UserError(f"jitter {jitter:g} and views {views} must not be negative, views not 0", where="views crop_colour")
        if side is not None and side < 2:
            raise UserError(f"views of side {side} are no pictures", where="views crop_colour.side", do="write 2 or more")
        self.frontend, self.views, self.side = frontend, views, side
        self.area, self.ratio, self.flip = area, ratio, flip
        self.jitter, self.jitter_p, self.grey, self.blur, self.sigma = jitter, jitter_p, grey, blur, sigma

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = tensor(self.frontend(data, lengths))
        draws = random.uniform(random.of_views(key, self.views), _DRAWS)  # (V * B, draws)
        x = self._crop(x.repeat(self.views, 1, 1, 1), draws)
        if self.jitter > 0 and self.jitter_p > 0:
            x = self._colour(x, draws)
        if self.grey > 0 and x.shape[1] == 3:
            x = torch.where((draws[:, _GREY] < self.grey).view(-1, 1, 1, 1), pictures.grey(x), x)
        if self.blur > 0:
            x = self._blur(x, draws)
        return list(x.chunk(self.views))

    def _crop(self, x: Tensor, draws: Tensor) -> Tensor:
        aspect = x.shape[3] / x.shape[2]
        area = _between(draws[:, _AREA], *self.area)
        ratio = _between(draws[:, _RATIO], math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        widths, heights = (area * ratio / aspect).sqrt(), (area / ratio * aspect).sqrt()
        first = ((widths <= 1) & (heights <= 1)).to(torch.uint8).argmax(1, keepdim=True)
        width, height = (side.gather(1, first).squeeze(1).clamp_max(1) for side in (widths, heights))
        top, left = draws[:, _TOP] * (1 - height), draws[:, _LEFT] * (1 - width)
        out = (x.shape[2], x.shape[3]) if self.side is None else (self.side, self.side)
        return pictures.crop(x, top, left, height, width, draws[:, _FLIP] < self.flip, out)

    def _colour(self, x: Tensor, draws: Tensor) -> Tensor:
        chosen = (draws[:, _JITTER] < self.jitter_p).to(x.dtype)
        reach = 0.8 * self.jitter
        low = max(0.0, 1 - reach)

        def factor(draw: int) -> Tensor:
            return 1 + chosen * (_between(draws[:, draw], low, 1 + reach) - 1)

        x = pictures.contrast(pictures.brightness(x, factor(_BRIGHTNESS)), factor(_CONTRAST))
        if x.shape[1] == 1:
            return x
        x = pictures.saturation(x, factor(_SATURATION))
        turn = min(0.5, 0.2 * self.jitter)
        return pictures.hue(x, chosen * _between(draws[:, _HUE], -turn, turn))

    def _blur(self, x: Tensor, draws: Tensor) -> Tensor:
        scale = x.shape[2] / 224
        sigma = (draws[:, _BLUR] < self.blur) * _between(draws[:, _SIGMA], *self.sigma) * scale
        return pictures.blur(x, sigma, radius=max(1, math.ceil(0.05 * x.shape[2])))


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u
