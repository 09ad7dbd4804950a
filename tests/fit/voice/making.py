"""Recordings of made-up voices: a pitch for a speaker, two formants for what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from stages.common import atomic, features
from stages.common.corpus import Column
from stages.common.media import wav_bytes
from stages.common.schema import Part, as_plain
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import EncoderCard
from stages.fit.core.voice.spectrum import LEVEL
from stages.fit.core.voice.utterances import Utterances
from tests.builders import write_corpus

RATE, SAMPLES = 8000, 2400
PITCH = {"ann": 200.0, "bob": 110.0, "cid": 140.0, "dee": 260.0}
SAID = {"ah": (700.0, 1200.0), "ee": (300.0, 2600.0)}


def voice(speaker: str, said: str, seed: int, samples: int) -> np.ndarray:
    """Harmonics of the pitch, those near the formants louder, float64 (samples,)."""
    rng = np.random.default_rng(seed)
    t, pitch = np.arange(samples) / RATE, PITCH[speaker] * rng.uniform(0.97, 1.03)
    wave = 0.01 * rng.normal(size=samples)
    for h in range(1, int(RATE / 2 / pitch)):
        loud = sum(np.exp(-(((h * pitch - f) / 200) ** 2)) for f in SAID[said]) + 0.02
        wave += loud * np.sin(2 * np.pi * h * pitch * t + rng.uniform(0, 6))
    return wave


def spoken(counts: list[int], x: torch.Tensor, hop: int = 160) -> Utterances:
    """Recordings of one speaker, of noise, each `hop` samples a frame; x (N, D) their frames."""
    lengths = torch.tensor([hop * c - hop // 2 for c in counts])
    wave = torch.randn(len(counts), int(lengths.max()), generator=torch.Generator().manual_seed(0)) * LEVEL
    wave = wave * (torch.arange(wave.shape[1]) < lengths.unsqueeze(1))
    ids = np.array([f"u{i}" for i in range(len(counts))])
    same = np.array(["ann"] * len(counts))
    return Utterances(ids, same, same, wave, lengths, x, torch.tensor(counts))


def workspace(root: Path, each: int = 6, hop: int = 80, **left_out: str) -> Workspace:
    """Two speakers that train and two that test, `each` recordings of each word; frames are log-mel ones."""
    made = Workspace(root)
    rows: list[dict[str, Any]] = []
    for s, speaker in enumerate(PITCH):
        for w, said in enumerate(SAID):
            for i in range(each):
                samples = SAMPLES - 160 * (i % 3)
                wave = (6000 * voice(speaker, said, 1000 * s + 100 * w + i, samples) / 3).clip(-32000, 32000).astype(np.int16)
                rows.append(
                    {
                        "id": f"{said}_{speaker}_{i}",
                        "split": "train" if s < 2 else "test",
                        "group": speaker,
                        "speaker": speaker,
                        "word": None if left_out.get("word") == speaker else w,
                        "wave": {"bytes": wav_bytes(wave, RATE), "path": "w.wav"},
                    }
                )
    columns = [
        Column("speaker", "meta"),
        Column("word", "label", "class", classes=list(SAID)),
        Column("wave", "media", "waveform", rate=RATE),
    ]
    write_corpus(made.corpus("c"), columns, rows)
    frontend = Part("log_mel", {"samples": SAMPLES, "n_mels": 24, "padded": True, "normalise": True})
    backbone = Part("frames")
    folder = made.encoder("e")
    (folder / "seed=0").mkdir(parents=True)
    net = encoders.new(frontend, backbone, columns[-1], folder)
    card = EncoderCard(frontend, backbone, columns[-1], "c", "d", "s", "none", 0, 0, net.width)
    encoders.save(folder / "seed=0", net, card)
    atomic.seal(folder)
    _extract(made.features("f"), net, rows)
    return made


def _extract(folder: Path, net: encoders.Encoder, rows: list[dict[str, Any]]) -> None:
    """Frame rows of every recording, in an order of no meaning."""
    (folder / "seed=0").mkdir(parents=True)
    ids, splits, index, x = [], [], [], []
    for row in rows:
        data = np.frombuffer(row["wave"]["bytes"], "<i2", offset=44)
        padded = torch.from_numpy(np.pad(data, (0, SAMPLES - len(data))))[None]
        own = 1 + len(data) // 80
        frames = net.hidden(net.frontend(padded, torch.tensor([len(data)])))[0][0, :own].numpy()
        ids += [row["id"]] * own
        splits += [row["split"]] * own
        index += list(range(own))
        x.append(frames)
    order = np.random.default_rng(0).permutation(len(ids))
    rows_, at = np.concatenate(x)[order], np.array(index, np.int32)[order]
    with features.writer(folder / "seed=0" / "part-00000.parquet", rows_.shape[1], "float32") as out:
        names, parts = (pa.array([v[i] for i in order]) for v in (ids, splits))
        out.write_batch(features.batch(names, parts, np.arange(len(ids)), at, 0, rows_))
    counts = {s: splits.count(s) for s in sorted(set(splits))}
    about = features.FeaturesInfo("frame", [0], rows_.shape[1], "float32", [0], counts, "e", "c")
    atomic.write_json(folder / features.INFO, as_plain(about))
    atomic.seal(folder)
