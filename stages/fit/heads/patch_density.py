"""Where the defect is: the Gaussian density of every window of a picture, spread to a map of its pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.common.tasks import Exhibit
from stages.encoders.core.encoder import Encoder
from stages.fit.core import one_class
from stages.fit.core.head import Outcome, Problem
from stages.fit.core.material import Material
from stages.fit.core.one_class import Gaussian

MARKED = 127  # grey levels of a mask above it belong to the defect
SHOWN = 320  # pixels of a shown picture's longer side, at most
_PICTURES = 16  # read at a time


@part
class PatchDensity:
    """Li et al. 2021, "CutPaste", sec. 2.4: windows as large as the encoder's pictures, every `stride` pixels and at far edges.

    A Gaussian is fitted to the windows of the train pictures, as in the head gaussian_density (`shrinkage`). The score s_k of a
    window with its middle at c_k is spread: map(p) = sum_k s_k g(p - c_k) / sum_k g(p - c_k), g Gaussian of `sigma` pixels
    (null: a quarter of the window). That is the paper's transposed convolution, its weights summing to one up to the borders.

    The encoder comes as `support: encoders/<name>`, the features name the items alone, `label:` is as in gaussian_density.
    Figures over test pictures: pixel_auroc, the map against the column `mask` (a picture or pixels; null: no defect) at every
    `every`-th row and column; picture_auroc, the map's maximum against the label; both again for each value of `by`: its
    pictures beside all normal ones. shown: so many pictures of each value of `by` as exhibits, the defect outlined, the map
    over them in one scale for all: from the median of the normal pictures' pixels to the 0.995 quantile of all. Maps are held
    in memory.

    Raises UserError for an encoder that takes no pictures, for pictures smaller than a window, and masks of another size.
    """

    label: Literal["class", "number", "text", "steps"] | None = None

    def __init__(
        self,
        *,
        stride: int = 4,
        sigma: float | None = None,
        shrinkage: float | None = None,
        mask: str = "mask",
        by: str | None = None,
        every: int = 1,
        shown: int = 0,
        batch: int = 256,
    ) -> None:
        one_class.check_shrinkage(shrinkage, "patch_density")
        if min(stride, every, batch) < 1 or shown < 0 or (sigma is not None and sigma <= 0):
            do = "write 1 or more, for sigma above 0, for shown 0 or more"
            raise UserError("an argument is out of its range", where="head patch_density", do=do)
        self.stride, self.sigma, self.shrinkage, self.mask, self.by = stride, sigma, shrinkage, mask, by
        self.every, self.shown, self.batch = every, shown, batch

    def fit(self, problem: Problem) -> Outcome:
        normal = one_class.normal_class(problem)
        odd = problem.test.labels.cpu().numpy() != normal
        kind = one_class.kinds(problem, problem.test.ids, self.by)
        encoder = problem.input.encoder()
        if encoder.frontend.contract["kind"] != "image":
            raise UserError("patch_density takes an encoder of pictures", where="support", do="name another encoder")
        train = [
            self._embedded(encoder, picture, problem.input).flatten(0, 1)
            for picture in pictures(problem.input, problem.train.ids, encoder)
        ]
        density = Gaussian.of(torch.cat(train), self.shrinkage)
        maps = list(self._maps(problem, encoder, density))
        values = one_class.areas(odd, np.array([m.heat.max() for m in maps]), kind, "picture_auroc")
        values |= self._by_pixel(maps, odd, kind)
        return Outcome(
            values=values,
            items=len(maps),
            details={"shrinkage": density.shrinkage, "train_windows": sum(len(x) for x in train)},
            exhibits=self._shown(maps, odd, kind),
        )

    def _maps(self, problem: Problem, encoder: Encoder, density: Gaussian) -> Iterator[Map]:
        ids, contract = problem.test.ids, encoder.frontend.contract
        window = contract["height"], contract["width"]
        both = zip(pictures(problem.input, ids, encoder), masks(problem.input, ids, self.mask), strict=True)
        for name, (picture, mask) in zip(ids.tolist(), both, strict=True):
            shape = picture.shape[:2]
            marked = np.zeros(shape, bool) if mask is None else mask
            if marked.shape != shape:
                raise UserError(f"the mask of {name!r} is {marked.shape}, its picture {shape}", where=f"column {self.mask!r}")
            h = self._embedded(encoder, picture, problem.input)
            score = density.distances(h.flatten(0, 1)).reshape(h.shape[:2])
            yield Map(name, picture, marked, spread(score, shape, window, self.stride, self.sigma or window[0] / 4))

    @torch.no_grad()
    def _embedded(self, encoder: Encoder, picture: np.ndarray, material: Material) -> Tensor:
        """h (rows, columns, D) of the windows of a picture (H, W, C)."""
        height, width = encoder.frontend.contract["height"], encoder.frontend.contract["width"]
        if picture.shape[0] < height or picture.shape[1] < width:
            raise UserError(
                f"a picture of {picture.shape[1]} x {picture.shape[0]} is smaller than the encoder's {width} x {height}",
                where=f"corpus {material.corpus.card.name}",
                do="choose a corpus of larger pictures",
            )
        tops, lefts = starts(picture.shape[0], height, self.stride), starts(picture.shape[1], width, self.stride)
        windows = np.stack([picture[top : top + height, left : left + width] for top in tops for left in lefts])
        parts = torch.from_numpy(windows).to(material.device).split(self.batch)
        return torch.cat([encoder(encoder.frontend(part)) for part in parts]).view(len(tops), len(lefts), -1)

    def _by_pixel(self, maps: list[Map], odd: np.ndarray, kind: np.ndarray) -> dict[str, float]:
        thin = (slice(None, None, self.every),) * 2
        heat, marked = ([getattr(m, name)[thin].ravel() for m in maps] for name in ("heat", "marked"))
        values = {}
        for one in ["", *sorted(set(kind[odd].tolist()) - {""})]:
            chosen = np.flatnonzero(~odd | (kind == one) | (one == ""))
            score, target = (np.concatenate([pixels[i] for i in chosen]) for pixels in (heat, marked))
            found = one_class.areas(target, score, np.full(len(score), ""), "area")["area"]
            values[f"pixel_auroc_{one.lower()}" if one else "pixel_auroc"] = found
        return values

    def _shown(self, maps: list[Map], odd: np.ndarray, kind: np.ndarray) -> list[Exhibit]:
        if not self.shown:
            return []
        low = float(np.median(np.concatenate([m.heat.ravel() for m, o in zip(maps, odd) if not o])))
        high = float(np.quantile(np.concatenate([m.heat.ravel() for m in maps]), 0.995))
        exhibits = []
        for one in sorted(set(kind.tolist())):
            for rank, i in enumerate(np.flatnonzero(kind == one)[: self.shown].tolist()):
                row, name = f"{one or 'item'} {rank + 1}", f"{one.lower() or 'item'}{rank}"
                share = (maps[i].heat - low) / max(high - low, 1e-9)
                plain, over = drawn(maps[i].picture, maps[i].marked, None), drawn(maps[i].picture, maps[i].marked, share)
                said = f"highest score {maps[i].heat.max():.1f}"
                exhibits.append(Exhibit("picture", f"{name}_picture", plain, maps[i].name, (row, "defect outlined")))
                exhibits.append(Exhibit("picture", f"{name}_map", over, said, (row, "score map")))
        return exhibits


@dataclass(frozen=True)
class Map:
    """A test picture (H, W, C) uint8 by its item's name, what its mask marks (H, W) bool, and its score map `heat` (H, W)."""

    name: str
    picture: np.ndarray
    marked: np.ndarray
    heat: np.ndarray


def pictures(material: Material, ids: np.ndarray, encoder: Encoder) -> Iterator[np.ndarray]:
    """uint8 (H, W, C) of the items `ids` (N,), each of its own size, with the channels that the encoder takes."""
    for stored in _values(material, material.column.name, ids):
        yield decoded(stored, material.column.shape, encoder.frontend.contract["channels"])


def masks(material: Material, ids: np.ndarray, name: str) -> Iterator[np.ndarray | None]:
    """(H, W) bool of the items `ids` (N,), None for those without a mask."""
    shape = material.corpus.card.column(name).shape
    for stored in _values(material, name, ids):
        yield None if stored is None else decoded(stored, shape, 1)[:, :, 0] > MARKED


def _values(material: Material, name: str, ids: np.ndarray) -> Iterator[Any]:
    for start in range(0, len(ids), _PICTURES):
        yield from material.values(name, ids[start : start + _PICTURES])


def decoded(stored: Any, shape: list[int] | None, channels: int) -> np.ndarray:
    """uint8 (H, W, channels) of a stored picture: encoded, or pixels of a shape."""
    from PIL import Image  # only where pictures are looked at

    if not isinstance(stored, dict):
        return np.array(stored, np.uint8).reshape(shape or (-1,))
    with Image.open(io.BytesIO(stored["bytes"])) as picture:
        image = picture.convert("RGB" if channels == 3 else "L")
    return np.asarray(image).reshape(image.height, image.width, channels)


def starts(length: int, window: int, stride: int) -> list[int]:
    """0, stride, 2 stride ... as long as the window fits, and the last place where it does."""
    found = list(range(0, length - window + 1, stride))
    return found if found[-1] == length - window else [*found, length - window]


def spread(score: np.ndarray, shape: tuple[int, ...], window: tuple[int, int], stride: int, sigma: float) -> np.ndarray:
    """score (rows, columns) of windows -> map (H, W) float32, the Gaussian-weighted mean at each pixel."""
    weights = []
    for side, width in zip(shape, window):
        middle = np.array(starts(side, width, stride)) + (width - 1) / 2
        distance = (np.arange(side)[:, None] - middle) ** 2 / (2 * sigma**2)
        weight = np.exp(distance.min(1, keepdims=True) - distance)  # the nearest window's is 1: nothing vanishes far away
        weights.append(weight / weight.sum(1, keepdims=True))
    found: np.ndarray = weights[0] @ score.astype(np.float64) @ weights[1].T
    return found.astype(np.float32)


def drawn(picture: np.ndarray, marked: np.ndarray, heat: np.ndarray | None) -> bytes:
    """A PNG of the picture in grey, at its full range; `heat` (H, W), 0 to 1, over it in red to yellow; the mask's outline.

    A picture of more than 320 pixels to a side is reduced to that, since a page holds them all.
    """
    from PIL import Image

    share = min(1.0, SHOWN / max(marked.shape))
    shape = (max(1, round(share * marked.shape[1])), max(1, round(share * marked.shape[0])))  # width, height, as Pillow has it

    def fitted(values: np.ndarray) -> np.ndarray:
        reduced = Image.fromarray(values.astype(np.float32)).resize(shape, Image.Resampling.BOX)
        return np.asarray(reduced)

    grey = fitted(picture.mean(2))
    grey = (grey - grey.min()) / max(float(np.ptp(grey)), 1.0)
    shown = np.repeat(grey[:, :, None], 3, 2)
    if heat is not None:
        warmth = fitted(np.clip(heat, 0, 1))[:, :, None]
        colour = np.concatenate([np.ones_like(warmth), np.clip(2 * warmth - 1, 0, 1), np.zeros_like(warmth)], 2)
        shown = (1 - 0.75 * warmth) * shown + 0.75 * warmth * colour
    within = fitted(marked) > 0.5
    inner = within.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inner &= np.roll(within, step, axis)
    shown[within & ~inner] = (0.0, 0.9, 1.0)
    out = io.BytesIO()
    Image.fromarray((255 * shown).round().astype(np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()
