"""Random changes of a radio channel that leave the place as it is: views for channel state."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, tensor
from stages.views.core import random
from stages.views.core.base import Key

# Where each operation's draws lie in a view's stream; those of the noise follow.
_START, _FLIP, _GAIN_P, _GAIN, _FADING_P, _SIGMA, _SIGN, _NOISE = range(8)
_DRAWS = 8
_NORMAL = 0x6E6F697365  # names the streams of the noise


@part
class ChannelState:
    """data (B, ...) -> two global views x (B, 3 A, `length`), then `local` views (B, 3 A, `local_length`).

    Salihu, Schwarz and Rupp 2023, "Self-supervised and invariant representations for wireless localization", with the numbers
    of the authors' code. In this order, each drawn anew for every item: a run of a `share` of the K subcarriers (rounded down),
    resized to `length` (linearly, sample centres at (i + 0.5) / K); reversed with probability `flip`; with probability
    `gain_p` times U(1 - `gain`, 1 + `gain`); with probability `fading_p` the magnitude m becomes m / s^2 exp(-m^2 / (2 s^2)),
    a Rayleigh density, s = U(`sigma`); with probability `sign_p` times -1; with probability `noise_p` Gaussian noise of
    standard deviation `noise_std`. Pairs are of the first and the second global view; the local views take a share
    `local_share` and no more. The paper's division by the largest value is the front end's, so that views and features are in
    the same unit.

    length: default K. Raises UserError for arguments out of their range, or a front end that gives no (3 A, K).
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        share: tuple[float, float] = (0.9, 0.8),
        length: int | None = None,
        flip: float = 0.4,
        gain_p: tuple[float, float] = (0.2, 0.8),
        gain: float = 0.1,
        fading_p: tuple[float, float] = (0.0, 0.1),
        sigma: tuple[float, float] = (0.5, 0.6),
        sign_p: tuple[float, float] = (0.0, 0.2),
        noise_p: float = 0.2,
        noise_std: float = 1e-7,
        local: int = 8,
        local_share: float = 0.1,
        local_length: int = 16,
    ) -> None:
        where, shape = "views channel_state", frontend.shape
        if len(shape) != 2 or shape[0] % 3:
            raise UserError(f"channel_state takes (3 A, K), not x of shape {shape}", do="use front end channel_state")
        for name, value in {"flip": flip, "noise_p": noise_p, "gain_p": gain_p, "fading_p": fading_p, "sign_p": sign_p}.items():
            each = value if isinstance(value, tuple) else (value,)
            if not all(0 <= p <= 1 for p in each):
                raise UserError(f"{name} is a probability, not {value}", where=where)
        least = min(*share, local_share if local else 1.0)
        if max(*share, local_share) > 1 or int(least * shape[1]) < 1:
            raise UserError(
                f"shares {share} and {local_share} must be up to 1 and leave one of {shape[1]} subcarriers", where=where
            )
        if not 0 < sigma[0] <= sigma[1] or not 0 <= gain <= 1 or noise_std < 0:
            raise UserError(f"no range: sigma {sigma}, gain {gain} or noise_std {noise_std}", where=where)
        if local < 0 or local_length < 1 or (length is not None and length < 1):
            raise UserError("local must not be negative, lengths must be 1 or more", where=where)
        self.frontend, self.share, self.length, self.flip = frontend, share, length or shape[1], flip
        self.gain_p, self.gain, self.fading_p, self.sigma, self.sign_p = gain_p, gain, fading_p, sigma, sign_p
        self.noise_p, self.noise_std = noise_p, noise_std
        self.local, self.local_share, self.local_length = local, local_share, local_length

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = tensor(self.frontend(data, lengths))
        streams = random.of_views(key, 2 + self.local).view(2 + self.local, -1)
        views: list[Input] = [self._whole(x, streams[v], v) for v in (0, 1)]
        for stream in streams[2:]:
            start = random.uniform(stream, 1)[:, _START]
            views.append(run(x, start, int(self.local_share * x.shape[2]), self.local_length))
        return views

    def _whole(self, x: Tensor, stream: Tensor, view: int) -> Tensor:
        draws = random.uniform(stream, _DRAWS)
        x = run(x, draws[:, _START], int(self.share[view] * x.shape[2]), self.length)
        x = torch.where(_each(draws[:, _FLIP] < self.flip), x.flip(2), x)
        offset = 1 + (draws[:, _GAIN_P] < self.gain_p[view]) * self.gain * (2 * draws[:, _GAIN] - 1)
        x = x * _each(offset)
        if self.fading_p[view]:
            sigma = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * draws[:, _SIGMA]
            parts, magnitude = x.tensor_split([2 * x.shape[1] // 3], 1)
            faded = torch.where(_each(draws[:, _FADING_P] < self.fading_p[view]), rayleigh(magnitude, sigma), magnitude)
            x = torch.cat([parts, faded], 1)
        x = torch.where(_each(draws[:, _SIGN] < self.sign_p[view]), -x, x)
        if self.noise_p and self.noise_std:
            noise = random.normal(random.stream(stream, _NORMAL), x.shape[1] * x.shape[2]).view_as(x)
            x = x + _each(draws[:, _NOISE] < self.noise_p) * self.noise_std * noise
        return x


def run(x: Tensor, start: Tensor, width: int, length: int) -> Tensor:
    """Of x (B, C, K) `width` neighbours, resized linearly to `length` -> (B, C, length).

    start (B,) in [0, 1): the first of them lies at floor((K - width) start). Sample centres lie at (i + 0.5) / width; beyond
    the outermost ones the value stays.
    """
    first = ((x.shape[2] - width) * start).long()
    place = ((torch.arange(length, device=x.device) + 0.5) * (width / length) - 0.5).clamp(0, width - 1)
    below = place.floor().long()
    weight = (place - below).to(x.dtype)
    left, right = (
        x.gather(2, (first.unsqueeze(1) + at).unsqueeze(1).expand(-1, x.shape[1], -1))
        for at in (below, (below + 1).clamp_max(width - 1))
    )
    return torch.lerp(left, right, weight)


def rayleigh(m: Tensor, sigma: Tensor) -> Tensor:
    """m / s^2 exp(-m^2 / (2 s^2)) of m (B, C, K) with s = sigma (B,)."""
    variance = _each(sigma.square())
    return m / variance * torch.exp(-m.square() / (2 * variance))


def _each(value: Tensor) -> Tensor:
    return value.view(-1, 1, 1)
