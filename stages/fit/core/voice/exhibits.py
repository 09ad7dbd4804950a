"""A sound with its spectrogram, for the report."""

from __future__ import annotations

import io
import re

import numpy as np
import torch
from torch import Tensor

from stages.common.media import wav_bytes
from stages.common.tasks import Exhibit
from stages.fit.core.voice.judges import at_level
from stages.fit.core.voice.spectrum import FLOOR, Spectrum

_SCALE = 3  # pixels for a band or a frame


def of(name: str, wave: Tensor, spectrum: Spectrum, row: str, column: str, caption: str) -> list[Exhibit]:
    """wave (T,) as a sound of 16 bits and as a picture of its log-mel bands. row, column: its place in the report."""
    wave = at_level(wave.unsqueeze(0), torch.tensor([len(wave)], device=wave.device))
    samples = (32767 * 3 * wave[0].clamp(-1 / 3, 1 / 3)).round().to(torch.int16).cpu().numpy()
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    sound = Exhibit("sound", name, wav_bytes(samples, spectrum.rate), caption, (row, column))
    return [
        sound,
        Exhibit("picture", f"{name}_bands", drawn(spectrum.log_mel(wave)[0].cpu().numpy()), "log-mel bands", (row, column)),
    ]


def drawn(bands: np.ndarray) -> bytes:
    """A PNG of log-mel bands (bands, F), the lowest at the bottom, dark at the floor, 50 dB above it white."""
    from PIL import Image

    light = np.clip((bands - np.log(FLOOR)) / (np.log(10) * 5), 0, 1)[::-1]
    picture = Image.fromarray((255 * light).round().astype(np.uint8))
    picture = picture.resize((_SCALE * bands.shape[1], _SCALE * bands.shape[0]), Image.Resampling.NEAREST)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()
