"""Multi-crop: a few views of most of a picture, and more of small parts of it at a smaller side."""

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
class MultiCrop:
    """data (B, ...) -> `globals` views (B, C, H, W), then `locals` views (B, C, `side`, `side` W / H), in [0, 1].

    Caron et al. 2020, "SwAV", sec. 3.3, with the settings of Balestriero and LeCun 2025, "LeJEPA", sec. 6.1, and of its code:
    windows of `global_area` of the picture become the full H and W, windows of `local_area` the smaller side. All else is that
    of `crop_colour` and the same for both: ratio, flip, jitter, grey and blur; sigma is in pixels at 224 pixels of the
    picture's height, in proportion below, for small views too. LeJEPA's solarisation is left out, and its saturation is
    scaled by 0.8 to 1.2 where jitter 0.5 gives 0.6 to 1.4.

    Raises UserError for arguments out of their range, a side larger than the picture, or media that are no pictures.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        globals: int = 2,
        locals: int = 6,
        side: int = 98,
        global_area: tuple[float, float] = (0.3, 1.0),
        local_area: tuple[float, float] = (0.05, 0.3),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
        jitter: float = 0.5,
        jitter_p: float = 0.8,
        grey: float = 0.2,
        blur: float = 0.5,
        sigma: tuple[float, float] = (0.1, 2.0),
    ) -> None:
        check_pictures(frontend, "multicrop")
        if globals < 1 or locals < 0:
            raise UserError(f"{globals} global and {locals} local views: at least 1 and 0", where="views multicrop")
        if not 1 <= side <= frontend.shape[1]:
            raise UserError(
                f"local views of side {side} do not come from pictures of height {frontend.shape[1]}",
                where="views multicrop.side",
                do="choose a smaller side",
            )
        self.wide = Augmentation(global_area, ratio, flip, jitter, jitter_p, grey, blur, sigma)
        self.near = Augmentation(local_area, ratio, flip, jitter, jitter_p, grey, blur, sigma)
        for augmentation in (self.wide, self.near):
            augmentation.check("views multicrop")
        self.frontend, self.globals, self.locals, self.side = frontend, globals, locals, side

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = tensor(self.frontend(data, lengths))
        height, width = x.shape[2:]
        draws = random.uniform(random.of_views(key, self.globals + self.locals), DRAWS)  # (V * B, draws)
        first, rest = draws.split([self.globals * len(x), self.locals * len(x)])
        views = list(self.wide(x.repeat(self.globals, 1, 1, 1), first, (height, width), height).chunk(self.globals))
        if self.locals:
            small = (self.side, max(1, round(self.side * width / height)))
            views += self.near(x.repeat(self.locals, 1, 1, 1), rest, small, height).chunk(self.locals)
        return list(views)
