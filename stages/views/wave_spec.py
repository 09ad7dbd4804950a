"""Random crops, gains and noise of waveforms, then masks of their spectrograms: views for speech and sound."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, tensor
from stages.views.core import random, waves
from stages.views.core.base import Key

# Where each operation's draws lie in a view's stream; the masks' pairs (width, start) follow.
_SHARE, _START, _GAIN, _NOISE, _OFFSET, _SNR = range(6)
_MASKS = 6
_INT16 = 1 / 32768


@part
class WaveSpec:
    """data (B, T) int16 or float32, lengths (B,) -> `views` spectrograms (B, C, F, T').

    Before the front end, in this order: a stretch of a uniform share `crop` of the clip, moved to its start; gain of
    U(-`gain_db`, `gain_db`) decibels; with probability `noise` white noise at a signal-to-noise ratio of U(`snr_db`) decibels.
    After it: `time_masks` and `frequency_masks` bands, each up to a share `time_share` of the frames or `frequency_share` of
    the channels wide, uniformly, take the item's mean (Park et al. 2019, "SpecAugment", sec. 2, without time warping).

    Raises UserError for arguments out of their range or media that are no waveforms with a spectrogram front end.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        views: int = 2,
        crop: tuple[float, float] = (0.6, 1.0),
        gain_db: float = 6.0,
        noise: float = 0.5,
        snr_db: tuple[float, float] = (5.0, 30.0),
        time_masks: int = 1,
        time_share: float = 0.2,
        frequency_masks: int = 1,
        frequency_share: float = 0.3,
    ) -> None:
        if frontend.contract["kind"] != "waveform" or len(frontend.shape) != 3:
            raise UserError("wave_spec takes waveforms and a front end that makes spectrograms", do="choose other views")
        if not 0 < crop[0] <= crop[1] <= 1 or snr_db[0] > snr_db[1]:
            raise UserError(f"no range: crop {crop} or snr_db {snr_db}", where="views wave_spec", do="write [low, high]")
        for name, value in {"noise": noise, "time_share": time_share, "frequency_share": frequency_share}.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} lies between 0 and 1, not at {value:g}", where="views wave_spec")
        if views < 1 or time_masks < 0 or frequency_masks < 0:
            raise UserError("views, time_masks and frequency_masks must not be negative, views not 0", where="views wave_spec")
        self.frontend, self.views = frontend, views
        self.crop, self.gain_db, self.noise, self.snr_db = crop, gain_db, noise, snr_db
        self.masks = [(3, time_share)] * time_masks + [(2, frequency_share)] * frequency_masks  # (dimension, largest share)
        self._recording = waves.white_noise(frontend.contract["samples"]) if noise > 0 else None

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        draws = random.uniform(random.of_views(key, self.views), _MASKS + 2 * len(self.masks))  # (V * B, draws)
        wave, length = self._wave(data, lengths, draws)
        x = tensor(self.frontend(wave, length))
        for i, (dim, share) in enumerate(self.masks):
            width = share * draws[:, _MASKS + 2 * i]
            x = waves.mask(x, dim, draws[:, _MASKS + 2 * i + 1] * (1 - width), width)
        return list(x.chunk(self.views))

    def _wave(self, data: Tensor, lengths: Tensor | None, draws: Tensor) -> tuple[Tensor, Tensor]:
        wave = data * _INT16 if data.dtype == torch.int16 else data
        if lengths is None:
            lengths = torch.full((len(wave),), wave.shape[1], device=wave.device)
        wave, whole = wave.repeat(self.views, 1), lengths.repeat(self.views)
        length = (waves.between(draws[:, _SHARE], *self.crop) * whole).ceil().long().clamp_max(whole)
        start = (draws[:, _START] * (whole - length + 1)).long()
        wave = waves.crop(wave, start, length)
        if self.gain_db > 0:
            wave = waves.gain(wave, waves.between(draws[:, _GAIN], -self.gain_db, self.gain_db))
        if self._recording is not None:
            self._recording = self._recording.to(wave.device)
            stretches = self._recording.unfold(0, wave.shape[1], 1)
            noise = stretches[(draws[:, _OFFSET] * waves.NOISE_STARTS).long()]
            noise = noise * (draws[:, _NOISE] < self.noise).unsqueeze(1)
            wave = waves.noisy(wave, noise, length, waves.between(draws[:, _SNR], *self.snr_db))
        return wave, length
