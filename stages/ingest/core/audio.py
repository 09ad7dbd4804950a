"""Audio of any format that libsndfile knows to mono samples of one rate and type."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from math import gcd
from typing import Literal

import numpy as np

from stages.common.media import wav_bytes
from stages.ingest.core.item import BadItem, Undecoded

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")
Samples = Literal["int16", "float32"]
_RATIO, _RATIO_FROM = 1000, 64 << 20  # a clip that decodes to so many bytes, and to so many times its own, is a bomb
_FILTER = 1 << 18  # the larger of two rates without their common divisor: the filter between them has 20 times as many taps
_HIGHEST = 1 << 29  # Hz: the largest rate whose bytes a second a WAV header can state


@dataclass
class AudioRule:
    """rate: in Hz; None takes that of the first clip, and clips of another are broken; else clips are resampled.

    samples: how they are stored, one type for the corpus. 16-bit mono clips of the right rate pass unchanged. Longer clips
    than max_seconds are broken.
    """

    rate: int | None = None
    samples: Samples = "int16"
    max_seconds: float = 3600.0
    resample: bool = True

    def __post_init__(self) -> None:
        self.resample = self.rate is not None

    def later(self, data: bytes) -> bytes | Undecoded:
        """`wav` where the items are checked; at once while the first clip has still to say the rate. Raises BadItem."""
        return self.wav(data) if self.rate is None else Undecoded(self.wav, data)

    def wav(self, data: bytes) -> bytes:
        """Encoded audio as canonical mono WAV. Raises BadItem."""
        samples, rate = decode(data, self.max_seconds)
        if self.rate is None:
            self.rate = rate
        if rate != self.rate and not self.resample:
            raise BadItem(f"{rate} Hz, where the first clip has {self.rate}: set the reader's `rate` to resample")
        if rate != self.rate:
            samples = resampled(as_float(samples), rate, self.rate)
        return wav_bytes(as_int16(samples) if self.samples == "int16" else as_float(samples), self.rate)


def decode(data: bytes, max_seconds: float) -> tuple[np.ndarray, int]:
    """Mono samples (T,), int16 where the source is 16-bit mono, else float32 in [-1, 1]; and the rate. Raises BadItem."""
    import soundfile  # only where there is sound

    _check_riff(data)
    try:
        with soundfile.SoundFile(_Seekable(data)) as file:
            if file.frames > max_seconds * file.samplerate:
                raise BadItem(f"{file.frames / file.samplerate:.0f} s long, above the limit of {max_seconds:g}")
            if (size := file.frames * file.channels * 4) > max(_RATIO_FROM, _RATIO * len(data)):
                raise BadItem(f"it decodes to {size} bytes, over {_RATIO} times its size")
            exact = file.subtype == "PCM_16" and file.channels == 1
            samples = file.read(dtype="int16" if exact else "float32", always_2d=True)
            if file.frames != len(samples):
                raise BadItem(f"truncated: {len(samples)} of {file.frames} samples")
            rate = int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError):
        raise BadItem("empty file" if not data else "damaged, or no audio of a known format") from None
    if not 0 < rate < _HIGHEST:
        raise BadItem(f"a rate of {rate} Hz")
    if samples.size == 0:
        raise BadItem("no samples")
    if not exact and not np.isfinite(samples).all():
        raise BadItem("samples that are not finite")
    return (samples[:, 0] if samples.shape[1] == 1 else samples.mean(1, dtype=np.float32)), rate


class _Seekable(io.BytesIO):
    """Bytes in which a seek to no place leads nowhere: what is raised in libsndfile's callback would be printed."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """(T,) float32 at `rate` to (ceil(T to / rate),) at `to`, by a polyphase filter. Raises BadItem: too long a filter."""
    from scipy.signal import resample_poly  # slow to import: only where rates differ

    common = gcd(rate, to)
    if max(rate, to) // common > _FILTER:
        raise BadItem(f"{rate} Hz, which has too little in common with {to} Hz to be resampled")
    return resample_poly(samples, to // common, rate // common).astype(np.float32)


def as_float(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1], float32."""
    return samples.astype(np.float32) / 32768 if samples.dtype == np.int16 else samples


def as_int16(samples: np.ndarray) -> np.ndarray:
    """Samples in [-1, 1], or int16 already, as int16."""
    if samples.dtype == np.int16:
        return samples
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)


def _check_riff(data: bytes) -> None:
    """libsndfile reads what there is of a WAV cut short, without a word: compare with the size that its header states."""
    at = 12
    while data[:4] == b"RIFF" and at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            if size not in (0, 0xFFFFFFFF) and at + 8 + size > len(data):
                raise BadItem(f"truncated: {len(data) - at - 8} of {size} bytes of samples")
            return
        at += 8 + size + size % 2
