"""Other recordings of the same sound: another speed, room, line, overdriven, noisy. Views for speech and sound."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input
from stages.encoders.core.wave import samples_in_unit_range
from stages.views.core import random, recording, waves
from stages.views.core.base import Key

_RATE, _ROOM, _ECHO, _DIRECT, _BAND, _LOW, _HIGH, _CLIP, _SHARE, _NOISE, _OFFSET, _SNR, _GAIN = range(13)
_TAIL = 0x726F6F6D  # names the streams of the rooms' tails
_WHERE = "views recording"


@part
class Recording:
    """data (B, T) int16 or float32, lengths (B,) -> `views` of the front end's output.

    In this order: played U(`speed`) times as fast; with probability `room` in a room that reverberates for U(`reverberation_s`)
    seconds, the tail U(`direct_db`) decibels below the direct sound; with probability `band` limited to what lies between
    U(`low_hz`) and U(`high_hz`) hertz; with probability `clip` cut off at U(`clip_share`) of its peak; with probability `noise`
    white noise at a signal-to-noise ratio of U(`snr_db`) decibels; gain of U(-`gain_db`, `gain_db`) decibels.
    What an encoder should ignore depends on the task: speed changes a voice.

    Raises UserError for arguments out of their range, a band above half the sampling rate, or media that are no waveforms.
    """

    def __init__(
        self,
        frontend: Frontend,
        *,
        views: int = 2,
        speed: tuple[float, float] = (0.9, 1.1),
        room: float = 0.5,
        reverberation_s: tuple[float, float] = (0.1, 0.5),
        direct_db: tuple[float, float] = (0.0, 12.0),
        band: float = 0.3,
        low_hz: tuple[float, float] = (0.0, 300.0),
        high_hz: tuple[float, float] = (2000.0, 4000.0),
        clip: float = 0.2,
        clip_share: tuple[float, float] = (0.2, 0.8),
        noise: float = 0.5,
        snr_db: tuple[float, float] = (5.0, 30.0),
        gain_db: float = 6.0,
    ) -> None:
        if frontend.contract["kind"] != "waveform":
            raise UserError("recording takes waveforms", where=_WHERE, do="choose other views")
        ranges = {"speed": speed, "reverberation_s": reverberation_s, "direct_db": direct_db, "low_hz": low_hz}
        ranges |= {"high_hz": high_hz, "clip_share": clip_share, "snr_db": snr_db}
        for name, (low, high) in ranges.items():
            if low > high or (low < 0 and name != "snr_db"):
                raise UserError(f"{name} is no range: [{low:g}, {high:g}]", where=_WHERE, do="write [low, high]")
        for name, value in {"room": room, "band": band, "clip": clip, "noise": noise}.items():
            if not 0 <= value <= 1:
                raise UserError(f"{name} is a probability, not {value:g}", where=_WHERE)
        if views < 1 or speed[0] <= 0 or reverberation_s[0] <= 0 or not clip_share[1] <= 1 or gain_db < 0:
            raise UserError(
                "views, speed and reverberation_s lie above 0, clip_share up to 1, gain_db not below 0", where=_WHERE
            )
        self.rate = int(frontend.contract["rate"])
        if band > 0 and low_hz[1] >= high_hz[0]:
            raise UserError("low_hz reaches into high_hz: nothing would pass", where=_WHERE, do="keep low_hz below high_hz")
        if band > 0 and high_hz[0] > self.rate / 2:
            do = f"lower high_hz: the corpus has {self.rate} Hz"
            raise UserError("the band ends above half the sampling rate", where=_WHERE, do=do)
        self.frontend, self.views = frontend, views
        self.speed, self.room, self.reverberation_s, self.direct_db = speed, room, reverberation_s, direct_db
        self.band, self.low_hz, self.high_hz, self.clip, self.clip_share = band, low_hz, high_hz, clip, clip_share
        self.noise, self.snr_db, self.gain_db = noise, snr_db, gain_db
        self._white = waves.white_noise(frontend.contract["samples"]) if noise > 0 else None

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        x = samples_in_unit_range(data)
        length = torch.full((len(x),), x.shape[1], device=x.device) if lengths is None else lengths
        streams = random.of_views(key, self.views).view(self.views, -1)
        return [self._view(x, length, states, given=lengths is not None) for states in streams]

    def _view(self, x: Tensor, length: Tensor, states: Tensor, *, given: bool) -> Input:
        u = random.uniform(states, _GAIN + 1)
        if self.speed != (1.0, 1.0):
            x, length = recording.speed(x, length, waves.between(u[:, _RATE], *self.speed))
        if self.room > 0:
            echo, direct = waves.between(u[:, _ECHO], *self.reverberation_s), waves.between(u[:, _DIRECT], *self.direct_db)
            there = recording.room(x, length, echo, direct, self.rate, random.stream(states, _TAIL))
            x = torch.where((u[:, _ROOM] < self.room).unsqueeze(1), there, x)
        if self.band > 0:
            low, high = waves.between(u[:, _LOW], *self.low_hz), waves.between(u[:, _HIGH], *self.high_hz)
            passed = recording.band(x, length, low, high, self.rate)
            x = torch.where((u[:, _BAND] < self.band).unsqueeze(1), passed, x)
        if self.clip > 0:
            cut = recording.clip(x, waves.between(u[:, _SHARE], *self.clip_share))
            x = torch.where((u[:, _CLIP] < self.clip).unsqueeze(1), cut, x)
        if self._white is not None:
            self._white = self._white.to(x.device)
            noise = self._white.unfold(0, x.shape[1], 1)[(u[:, _OFFSET] * waves.NOISE_STARTS).long()]
            loud = waves.noisy(x, noise, length, waves.between(u[:, _SNR], *self.snr_db))
            x = torch.where((u[:, _NOISE] < self.noise).unsqueeze(1), loud, x)
        if self.gain_db > 0:
            x = waves.gain(x, waves.between(u[:, _GAIN], -self.gain_db, self.gain_db))
        return self.frontend(x, length if given else None)
