"""One view of a picture: a window of it, mirrored, recoloured and blurred; the random numbers are handed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.encoders.core.encoder import Frontend
from stages.views.core import pictures

ATTEMPTS = 10  # windows drawn before one that does not fit is cut to the picture
# Where each operation's draws lie in a view's stream: switching one off leaves the others' numbers as they were.
_AREA, _RATIO = slice(0, ATTEMPTS), slice(ATTEMPTS, 2 * ATTEMPTS)
_TOP, _LEFT, _FLIP, _JITTER, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE, _GREY, _BLUR, _SIGMA = range(
    2 * ATTEMPTS, 2 * ATTEMPTS + 11
)
DRAWS = 2 * ATTEMPTS + 11  # uniform numbers that a view takes


@dataclass(frozen=True)
class Augmentation:
    """Chen et al. 2020, "SimCLR", appendix A, in this order:

    a window of `area` (share of the picture) and aspect `ratio`, both uniform (the ratio in its logarithm), resized; mirrored
    with probability `flip`; with probability `jitter_p` brightness, contrast and saturation scaled by U(1 - 0.8 s, 1 + 0.8 s)
    and the hue turned by U(-0.2 s, 0.2 s), where s = `jitter`, always in that order; grey with probability `grey`; blurred with
    probability `blur`, sigma U(`sigma`) pixels at 224 pixels of height and in proportion below. Greyscale pictures skip
    saturation, hue and grey.
    """

    area: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    jitter: float
    jitter_p: float
    grey: float
    blur: float
    sigma: tuple[float, float]

    def check(self, where: str) -> None:
        """Raises UserError for arguments out of their range."""
        for name in ("flip", "jitter_p", "grey", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is a probability, not {getattr(self, name):g}", where=where)
        area, ratio, sigma = self.area, self.ratio, self.sigma
        if not 0 < area[0] <= area[1] <= 1 or not 0 < ratio[0] <= ratio[1] or not 0 <= sigma[0] <= sigma[1]:
            raise UserError(f"no range: area {area}, ratio {ratio} or sigma {sigma}", where=where, do="write [low, high]")
        if self.jitter < 0:
            raise UserError(f"jitter {self.jitter:g} must not be negative", where=where)

    def __call__(self, x: Tensor, draws: Tensor, shape: tuple[int, int], height: int) -> Tensor:
        """x (N, C, H, W) in [0, 1], draws (N, DRAWS) uniform -> (N, C, *shape). height: that `sigma` is in proportion to."""
        x = self._crop(x, draws, shape)
        if self.jitter > 0 and self.jitter_p > 0:
            x = self._colour(x, draws)
        if self.grey > 0 and x.shape[1] == 3:
            x = torch.where((draws[:, _GREY] < self.grey).view(-1, 1, 1, 1), pictures.grey(x), x)
        if self.blur > 0:
            x = self._blur(x, draws, height)
        return x

    def _crop(self, x: Tensor, draws: Tensor, shape: tuple[int, int]) -> Tensor:
        aspect = x.shape[3] / x.shape[2]
        area = _between(draws[:, _AREA], *self.area)
        ratio = _between(draws[:, _RATIO], math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        widths, heights = (area * ratio / aspect).sqrt(), (area / ratio * aspect).sqrt()
        first = ((widths <= 1) & (heights <= 1)).to(torch.uint8).argmax(1, keepdim=True)
        width, height = (side.gather(1, first).squeeze(1).clamp_max(1) for side in (widths, heights))
        top, left = draws[:, _TOP] * (1 - height), draws[:, _LEFT] * (1 - width)
        return pictures.crop(x, top, left, height, width, draws[:, _FLIP] < self.flip, shape)

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

    def _blur(self, x: Tensor, draws: Tensor, height: int) -> Tensor:
        sigma = (draws[:, _BLUR] < self.blur) * _between(draws[:, _SIGMA], *self.sigma) * (height / 224)
        return pictures.blur(x, sigma, radius=max(1, math.ceil(0.05 * height)))


def check_pictures(frontend: Frontend, views: str) -> None:
    """Raises UserError unless x is a picture of one or three channels."""
    if len(frontend.shape) != 3 or frontend.shape[0] not in (1, 3):
        raise UserError(f"{views} takes pictures of 1 or 3 channels, not x of shape {frontend.shape}", do="choose other views")


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u
