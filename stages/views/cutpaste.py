"""CutPaste: a normal picture, and the same with a piece of itself pasted elsewhere; scars and Cutout beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, tensor
from stages.views.core import pictures, random
from stages.views.core.base import Key

Kind = Literal["normal", "cutpaste", "scar", "cutout"]
# Each kind has a stream of its own, so that leaving one out leaves the others' numbers as they were; 0 is what all share.
_STREAMS: dict[str, int] = {"normal": 0, "cutpaste": 1, "scar": 2, "cutout": 3}
_FIRST, _SECOND, _SIDE, _TOP, _LEFT, _FROM_TOP, _FROM_LEFT, _ANGLE, _BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(12)
_DRAWS = 12


@part
class CutPaste:
    """data (B, ...) -> one picture (B, C, H, W) in [0, 1] per entry of `kinds`. Li et al. 2021, "CutPaste", sec. 2.2 and 2.3.

    All begin with the front end's x, moved by up to a share `translate` of its sides in whole pixels, its edges repeated.
    normal: as it is. cutpaste: a rectangle of a share U(`area`) of the picture, of aspect (width to height) U(`aspect`[0], 1)
    or U(1, `aspect`[1]), either half the time, is pasted at another place, brightness, contrast, saturation and hue changed by
    up to `jitter`. scar: a rectangle of `scar_width` times `scar_length` pixels of x (whole numbers, all equally likely),
    changed likewise, turned by U(-`scar_angle`, `scar_angle`) degrees as it is pasted, the nearest pixel taken. cutout: a
    rectangle as of cutpaste takes the picture's mean colour (DeVries and Taylor 2017, "Cutout"; here of CutPaste's sizes).
    Pieces are taken and put uniformly among the places where they fit. Only grey pictures skip saturation and hue.

    Raises UserError for arguments out of their range, for scars that do not fit, or media that are no pictures.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        kinds: list[Kind] | None = None,
        area: tuple[float, float] = (0.02, 0.15),
        aspect: tuple[float, float] = (0.3, 3.3),
        jitter: float = 0.1,
        scar_width: tuple[int, int] = (2, 16),
        scar_length: tuple[int, int] = (10, 25),
        scar_angle: float = 45.0,
        translate: float = 0.0,
    ) -> None:
        where = "views cutpaste"
        if len(frontend.shape) != 3 or frontend.shape[0] not in (1, 3):
            raise UserError(
                f"cutpaste takes pictures of 1 or 3 channels, not x of shape {frontend.shape}", do="choose other views"
            )
        self.kinds: list[Kind] = ["normal", "cutpaste", "scar"] if kinds is None else kinds
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UserError(f"kinds are named once each, not {self.kinds}", where=where)
        if not 0 < area[0] <= area[1] <= 1 or not 0 < aspect[0] <= 1 <= aspect[1]:
            raise UserError(f"no range: area {area} or aspect {aspect}", where=where, do="write [low, high], aspect around 1")
        if not 0 <= jitter <= 0.5 or not 0 <= translate < 1 or not 0 <= scar_angle <= 90:
            raise UserError("jitter lies in 0 to 0.5, translate in 0 to 1, scar_angle in 0 to 90", where=where)
        longest = max(scar_width[1], scar_length[1])
        if not 1 <= scar_width[0] <= scar_width[1] or not 1 <= scar_length[0] <= scar_length[1]:
            raise UserError(f"no range: scar_width {scar_width} or scar_length {scar_length}", where=where)
        if "scar" in self.kinds and longest > min(frontend.shape[1:]):
            raise UserError(f"a scar of {longest} pixels does not fit into x of shape {frontend.shape}", where=where)
        self.frontend, self.area, self.aspect, self.jitter = frontend, area, aspect, jitter
        self.scar_width, self.scar_length, self.scar_angle, self.translate = scar_width, scar_length, scar_angle, translate

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = self._moved(tensor(self.frontend(data, lengths)), key)
        return [self._made(kind, x, key) for kind in self.kinds]

    def _moved(self, x: Tensor, key: Key) -> Tensor:
        if self.translate == 0:
            return x
        height, width = x.shape[2:]
        share = self.translate * (2 * _draws(key, "normal")[:, :2] - 1)
        top, left = (share[:, 0] * height).round() / height, (share[:, 1] * width).round() / width
        one = torch.ones_like(top)
        return pictures.crop(x, top, left, one, one, torch.zeros_like(top, dtype=torch.bool), (height, width))

    def _made(self, kind: Kind, x: Tensor, key: Key) -> Tensor:
        if kind == "normal":
            return x
        draws = _draws(key, kind)
        if kind == "scar":
            height, width = _whole(draws[:, _FIRST], self.scar_length), _whole(draws[:, _SECOND], self.scar_width)
        else:
            height, width = self._rectangle(draws, x.shape[2], x.shape[3])
        piece = Box.placed(draws[:, _FROM_TOP], draws[:, _FROM_LEFT], height, width, x)
        target = Box.placed(draws[:, _TOP], draws[:, _LEFT], height, width, x)
        if kind == "cutout":
            return torch.where(target.mask(x), x.mean((2, 3), keepdim=True), x)
        filling = self._jittered(x, piece.mask(x), draws)
        if kind == "cutpaste":
            return paste(x, filling, piece, target)
        angle = torch.deg2rad(self.scar_angle * (2 * draws[:, _ANGLE] - 1))
        return paste_turned(x, filling, piece, centres(draws[:, _TOP], draws[:, _LEFT], piece, angle, x), angle)

    def _rectangle(self, draws: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Sides (B,) in whole pixels, one at least, the picture's at most."""
        area = _between(draws[:, _FIRST], *self.area) * height * width
        flat, tall = _between(draws[:, _SECOND], 1, self.aspect[1]), _between(draws[:, _SECOND], self.aspect[0], 1)
        aspect = torch.where(draws[:, _SIDE] < 0.5, tall, flat)
        return (area / aspect).sqrt().round().clamp(1, height).long(), (area * aspect).sqrt().round().clamp(1, width).long()

    def _jittered(self, x: Tensor, inside: Tensor, draws: Tensor) -> Tensor:
        """x with the colours of the piece `inside` (B, 1, H, W) changed; its contrast is about the piece's own mean grey."""
        if self.jitter == 0:
            return x

        def factor(draw: int) -> Tensor:
            return 1 + self.jitter * (2 * draws[:, draw] - 1)

        x = pictures.brightness(x, factor(_BRIGHTNESS))
        mean = (pictures.grey(x) * inside).sum((1, 2, 3), keepdim=True) / inside.sum((1, 2, 3), keepdim=True)
        x = torch.lerp(mean, x, factor(_CONTRAST).view(-1, 1, 1, 1)).clamp(0, 1)
        return pictures.hue(pictures.saturation(x, factor(_SATURATION)), factor(_HUE) - 1)


@dataclass(frozen=True)
class Box:
    """Rectangles of a batch in whole pixels: top, left, height, width (B,) int64."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    @staticmethod
    def placed(vertical: Tensor, horizontal: Tensor, height: Tensor, width: Tensor, x: Tensor) -> Box:
        """Anywhere in the pictures x where it fits, by two draws (B,) in [0, 1)."""
        top, left = vertical * (x.shape[2] - height + 1), horizontal * (x.shape[3] - width + 1)
        return Box(top.long(), left.long(), height, width)

    def mask(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) bool: the pixels of x within."""
        row, column = torch.arange(x.shape[2], device=x.device), torch.arange(x.shape[3], device=x.device)
        rows = (row >= self.top.unsqueeze(1)) & (row < (self.top + self.height).unsqueeze(1))
        columns = (column >= self.left.unsqueeze(1)) & (column < (self.left + self.width).unsqueeze(1))
        return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


def paste(x: Tensor, filling: Tensor, piece: Box, target: Box) -> Tensor:
    """x (B, C, H, W) with the pixels of `filling` (B, C, H, W) at `piece` put at `target`, a box of the same sides."""
    row, column = torch.arange(x.shape[2], device=x.device), torch.arange(x.shape[3], device=x.device)
    rows = (row + (piece.top - target.top).unsqueeze(1)).clamp(0, x.shape[2] - 1)
    columns = (column + (piece.left - target.left).unsqueeze(1)).clamp(0, x.shape[3] - 1)
    taken = filling.gather(2, rows.view(len(x), 1, -1, 1).expand_as(x))
    taken = taken.gather(3, columns.view(len(x), 1, 1, -1).expand_as(x))
    return torch.where(target.mask(x), taken, x)


def paste_turned(x: Tensor, filling: Tensor, piece: Box, centre: Tensor, angle: Tensor) -> Tensor:
    """x (B, C, H, W) with `piece` of `filling` turned by `angle` (B,), its middle at `centre` (B, 2) in pixels (y, x).

    Angles are radians, from the x axis towards the y axis. A pixel takes the value of the piece's pixel in which its own
    middle, turned back, comes to lie; where it lies in none, it stays.
    """
    batch, channels, height, width = x.shape
    row, column = torch.arange(height, device=x.device) + 0.5, torch.arange(width, device=x.device) + 0.5
    down = row.view(1, -1, 1) - centre[:, 0].view(-1, 1, 1)
    right = column.view(1, 1, -1) - centre[:, 1].view(-1, 1, 1)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    along, across = cos * down - sin * right, sin * down + cos * right  # from the piece's middle, downwards and to the right
    half_height, half_width = piece.height.view(-1, 1, 1) / 2, piece.width.view(-1, 1, 1) / 2
    inside = (along.abs() < half_height) & (across.abs() < half_width)
    rows = (piece.top.view(-1, 1, 1) + half_height + along).floor().long().clamp(0, height - 1)
    columns = (piece.left.view(-1, 1, 1) + half_width + across).floor().long().clamp(0, width - 1)
    place = (rows * width + columns).view(batch, 1, -1).expand(-1, channels, -1)
    taken = filling.flatten(2).gather(2, place).view_as(x)
    return torch.where(inside.unsqueeze(1), taken, x)


def centres(vertical: Tensor, horizontal: Tensor, piece: Box, angle: Tensor, x: Tensor) -> Tensor:
    """(B, 2): middles, in pixels (y, x), anywhere where the turned piece fits; the picture's middle where it does not."""
    cos, sin = angle.cos().abs(), angle.sin().abs()
    reach = (piece.height * cos + piece.width * sin) / 2, (piece.height * sin + piece.width * cos) / 2
    found = []
    for draw, half, side in ((vertical, reach[0], x.shape[2]), (horizontal, reach[1], x.shape[3])):
        low = half.clamp_max(side / 2)
        found.append(low + draw * (side - 2 * low))
    return torch.stack(found, 1)


def _draws(key: Key, kind: Kind) -> Tensor:
    return random.uniform(random.stream(key.seed, key.epoch, key.sample, _STREAMS[kind]), _DRAWS)


def _between(u: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * u


def _whole(u: Tensor, ends: tuple[int, int]) -> Tensor:
    return (ends[0] + u * (ends[1] - ends[0] + 1)).floor().long()
