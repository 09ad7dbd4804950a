"""Clips whose headers lie, and samples that are no numbers."""

from __future__ import annotations

import io
import struct

import numpy as np

from stages.common.media import wav_bytes
from tests.faults.hostile.item import CORPUS, QUARANTINE, Content, Hostile, plan
from tests.ingest.making import tone


def sounds() -> list[Hostile]:
    """Bad clips among good ones."""
    odd = np.array([0.1, np.nan, 0.2] * 30, np.float32)
    both = frozenset({"corpus", "quarantine"})
    bad: dict[str, tuple[Content, frozenset[str], str]] = {
        "NaN": (wav_bytes(odd, 8000), QUARANTINE, "not finite"),
        "infinity": (wav_bytes(np.nan_to_num(odd, nan=np.inf), 8000), QUARANTINE, "not finite"),
        "numbers near the largest": (wav_bytes(np.full(90, 3e38, np.float32), 8000), both, ""),
        "two channels that overflow together": (
            _wav(channels=2, bits=32, code=3, body=np.full(200, 3e38, "<f4").tobytes()),
            both,
            "",
        ),
        "silence": (_wav(), CORPUS, ""),
        "no samples": (_wav(body=b""), QUARANTINE, "no samples"),
        "a header that states more": (_wav(stated=10**6), QUARANTINE, "truncated"),
        "a header that states 4 GB": (_wav(stated=2**32 - 2), QUARANTINE, "truncated"),
        "a header that states less": (_wav(stated=400), both, ""),
        "an odd number of bytes": (_wav(body=bytes(801)), both, ""),
        "a rate of 0 Hz": (_wav(rate=0), both, ""),
        "a rate of 1 Hz": (_wav(rate=1), both, ""),
        "a rate of 2 ** 31 - 1 Hz": (_wav(rate=2**31 - 1), QUARANTINE, ""),
        "a rate of 2 ** 32 - 1 Hz": (_wav(rate=2**32 - 1), QUARANTINE, ""),
        "a rate that has nothing in common with another": (_wav(rate=15_485_863), QUARANTINE, ""),
        "no channel": (_wav(channels=0), QUARANTINE, ""),
        "65,535 channels": (_wav(channels=65_535), QUARANTINE, ""),
        "samples of 3 bits": (_wav(bits=3), both, ""),
        "a code that nobody gave": (_wav(code=0x4242), QUARANTINE, ""),
        "a format chunk of 2 GB": (_wav().replace(struct.pack("<I", 16), struct.pack("<I", 2**31), 1), QUARANTINE, ""),
        "only a header": (_wav()[:44], QUARANTINE, ""),
        "half a header": (_wav()[:20], QUARANTINE, ""),
        "chunks of no size without end": (b"RIFF\xff\xff\xff\xffWAVE" + b"junk\0\0\0\0" * 9999, QUARANTINE, ""),
        "an MP3 that is none": (b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(200), QUARANTINE, ""),
        "a FLAC of 68 billion samples": (
            b"fLaC\x80\0\0\x22\x10\0\x10\0" + bytes(6) + b"\x0a\xc4\x42\xff\xff\xff\xff\xff" + bytes(16),
            QUARANTINE,
            "",
        ),
        "noise": (np.random.default_rng(0).bytes(5000), QUARANTINE, "no audio of a known format"),
    }
    good = {f"s/{i}.wav": tone(i) for i in range(2)}
    found = []
    for name, (data, outcomes, says) in bad.items():
        for samples in ("int16", "float32"):
            given = plan("audio_folder", rate=8000, samples=samples)
            found.append(
                Hostile(f"sounds/{name}, as {samples}", given, {**good, "s/x.wav": data}, outcomes=outcomes, says=says)
            )
        first = plan("audio_folder", samples="float32")
        found.append(Hostile(f"sounds/{name}, the first and of no stated rate", first, {"s/0.wav": data, "s/1.wav": tone(1)}))
    bomb = {**good, "s/x.flac": lambda: _silent("FLAC", 48_000, 1200, 8)}
    given = plan("audio_folder", rate=8000)
    found.append(
        Hostile("sounds/20 minutes of nothing in eight channels", given, bomb, outcomes=QUARANTINE, says="times its size")
    )
    return found


def _wav(
    rate: int = 8000, channels: int = 1, bits: int = 16, code: int = 1, stated: int | None = None, body: bytes = bytes(800)
) -> bytes:
    size = len(body) if stated is None else stated
    width = channels * bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate & 0xFFFFFFFF, (rate * width) & 0xFFFFFFFF, width & 0xFFFF, bits)
    return (
        b"RIFF"
        + struct.pack("<I", (36 + size) & 0xFFFFFFFF)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
        + body
    )


def _silent(kind: str, rate: int, seconds: float, channels: int = 1) -> bytes:
    import soundfile

    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", rate, channels, "PCM_16", format=kind) as file:
        block = np.zeros((rate, channels), np.int16)
        for _ in range(int(seconds)):
            file.write(block)
    return out.getvalue()
