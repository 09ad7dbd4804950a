from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages.common.media import read_wav
from tests.ingest.making import HALVES, ingest, put, tone

LABEL = {"labels": {"label": {"kind": "class"}}, "quarantine_share": 0.9}


def plan(path: Path, **reader: Any) -> dict[str, Any]:
    return {"source": {"name": "folder", "path": str(path)}, "reader": {"name": "audio_folder", **reader}, **LABEL, **HALVES}


def encoded(samples: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def waves(corpus: Any) -> dict[str, np.ndarray]:
    return {r["id"]: read_wav(r["audio"]["bytes"]) for r in corpus.table(["id", "audio"]).to_pylist()}


def clips(count: int = 6) -> dict[str, bytes]:
    return {f"{'ab'[i % 2]}/{i}.wav": tone(i) for i in range(count)}


def test_sixteen_bit_mono_clips_pass_unchanged(tmp_path: Path) -> None:
    files = clips()
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files)))
    stored = {r["id"]: r["audio"]["bytes"] for r in corpus.table(["id", "audio"]).to_pylist()}
    assert stored == files
    assert corpus.card.media().rate == 8000 and corpus.card.totals["seconds"] == pytest.approx(0.6)
    assert corpus.card.column("label").classes == ["a", "b"]


def test_other_formats_and_channels_become_mono_of_one_sample_type(tmp_path: Path) -> None:
    samples = np.stack([np.sin(np.arange(800) / 9), np.cos(np.arange(800) / 9)], 1) * 0.5
    files = clips(4) | {
        "a/flac.flac": encoded(samples, 8000, "FLAC"),
        "b/float.wav": encoded(samples, 8000, "WAV", "FLOAT"),
        "b/deep.wav": encoded(samples, 8000, "WAV", "PCM_24"),
        "a/vorbis.ogg": encoded(samples, 8000, "OGG", "VORBIS"),
    }
    found = waves(ingest(tmp_path / "w", plan(put(tmp_path / "f", files))))
    assert {w.dtype.name for w in found.values()} == {"int16"}
    for name, tolerance in (("a/flac.flac", 2), ("b/float.wav", 1), ("b/deep.wav", 1), ("a/vorbis.ogg", 3000)):
        assert np.abs(found[name] - samples.mean(1) * 32768).max() <= tolerance, name
    found = waves(ingest(tmp_path / "v", plan(tmp_path / "f", samples="float32")))
    assert {w.dtype.name for w in found.values()} == {"float32"}
    assert np.allclose(found["b/float.wav"], samples.mean(1), atol=1e-6)


def test_clips_are_resampled_to_the_rate_asked_for_and_keep_their_pitch(tmp_path: Path) -> None:
    time = np.arange(44100) / 44100
    files = clips(4) | {"a/x.wav": encoded(0.5 * np.sin(2 * np.pi * 440 * time), 44100, "WAV", "PCM_16")}
    found = waves(ingest(tmp_path / "w", plan(put(tmp_path / "f", files), rate=16000)))
    assert len(found["a/x.wav"]) == 16000 and len(found["a/0.wav"]) == 1600
    assert np.abs(np.fft.rfft(found["a/x.wav"])).argmax() == 440


def test_unusable_clips_are_quarantined_with_their_reasons(tmp_path: Path) -> None:
    nan = encoded(np.array([0.0, np.nan, 0.0]), 8000, "WAV", "FLOAT")
    files = clips() | {
        "a/nan.wav": nan,
        "a/none.wav": encoded(np.zeros(0), 8000, "WAV", "PCM_16"),
        "a/cut.wav": tone(1)[:700],
        "a/text.wav": b"this is no sound",
        "a/empty.wav": b"",
        "a/fast.wav": tone(1, rate=16000),
    }
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files), max_seconds=5.0))
    assert {q["item"].removeprefix("a/"): q["reason"] for q in corpus.card.quarantined} == {
        "nan.wav": "samples that are not finite",
        "none.wav": "no samples",
        "cut.wav": "truncated: 656 of 1600 bytes of samples",
        "text.wav": "damaged, or no audio of a known format",
        "empty.wav": "empty file",
        "fast.wav": "16000 Hz, where the first clip has 8000: set the reader's `rate` to resample",
    }
    assert corpus.count() == 6 and corpus.card.totals["quarantined"] == 6


def test_a_clip_beyond_the_limit_of_length_is_not_decoded(tmp_path: Path) -> None:
    files = clips(4) | {"a/long.wav": tone(1, seconds=2.0)}
    corpus = ingest(tmp_path / "w", plan(put(tmp_path / "f", files), max_seconds=1.0))
    assert corpus.card.quarantined == [{"item": "a/long.wav", "reason": "2 s long, above the limit of 1"}]
