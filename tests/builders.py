"""Small artefacts on disk for tests, each through the contract's own writer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from stages.common import atomic, features
from stages.common.corpus import KEYS, Card, Column, CorpusWriter, write_card
from stages.common.media import wav_bytes
from stages.common.schema import as_plain

SPLITS = ("train", "valid", "test")


def write_corpus(folder: Path, columns: list[Column], rows: list[dict[str, object]]) -> Path:
    """A sealed corpus of the given rows; each row has id, split, group and the columns' values."""
    folder.mkdir(parents=True)
    writer = CorpusWriter(folder, [*KEYS, *columns])
    writer.write(rows)
    writer.close()
    splits = [str(r["split"]) for r in rows]
    names = [s for s in SPLITS if s in splits]
    pairs = sorted(f"{r['id']} {r['split']}" for r in rows)
    card = Card(
        name=folder.name,
        title="test corpus",
        licence="none",
        provenance="simulated",
        source={"digest": "none"},
        columns=[*KEYS, *columns],
        counts={s: splits.count(s) for s in names},
        groups={s: len({r["group"] for r in rows if r["split"] == s}) for s in names},
        shards=writer.shards,
        split_digest=hashlib.sha256("\n".join(pairs).encode()).hexdigest(),
    )
    write_card(folder, card)
    atomic.seal(folder)
    return folder


def split_of(i: int) -> str:
    return ("train", "train", "train", "valid", "test")[i % 5]


def image_corpus(folder: Path, n: int = 100, size: int = 8, channels: int = 1, classes: int = 4, seed: int = 0) -> Path:
    """Bright squares at one of `classes` corners over noise, uint8 pixels, label `digit`."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for i in range(n):
        label = int(rng.integers(classes))
        picture = rng.integers(0, 80, (size, size, channels))
        half = size // 2
        top, left = (label % 2) * half, (label // 2 % 2) * half
        picture[top : top + half, left : left + half] += 120
        pixels = picture.astype(np.uint8).reshape(-1)
        rows.append({"id": f"i{i:04d}", "split": split_of(i), "group": f"i{i:04d}", "digit": label, "image": pixels})
    columns = [
        Column("digit", "label", "class", classes=[str(c) for c in range(classes)]),
        Column("image", "media", "pixels", shape=[size, size, channels]),
    ]
    return write_corpus(folder, columns, rows)


def wave_corpus(folder: Path, n: int = 60, rate: int = 8000, classes: int = 3, seed: int = 0) -> Path:
    """Tones of one of `classes` pitches, 0.2 to 0.5 s, int16, label `pitch`."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for i in range(n):
        label = int(rng.integers(classes))
        time = np.arange(int(rate * rng.uniform(0.2, 0.5))) / rate
        tone = 8000 * np.sin(2 * np.pi * 400 * (1 + label) * time + rng.uniform(0, 6)) + rng.normal(0, 500, len(time))
        wave = {"bytes": wav_bytes(tone.astype(np.int16), rate), "path": f"w{i:04d}.wav"}
        rows.append({"id": f"w{i:04d}", "split": split_of(i), "group": f"g{i:04d}", "pitch": label, "wave": wave})
    columns = [
        Column("pitch", "label", "class", classes=[str(c) for c in range(classes)]),
        Column("wave", "media", "waveform", rate=rate),
    ]
    return write_corpus(folder, columns, rows)


def write_features(
    folder: Path, ids: list[str], splits: list[str], x: dict[int, np.ndarray], encoder: str = "e", corpus: str = "c"
) -> Path:
    """A sealed clip-row features folder; x maps a seed to embeddings (N, D) float32."""
    import pyarrow as pa

    first = next(iter(x.values()))
    for seed, values in x.items():
        part = folder / f"seed={seed}" / "part-00000.parquet"
        part.parent.mkdir(parents=True)
        with features.writer(part, values.shape[1], "float32") as out:
            index = np.zeros(len(ids), np.int32)
            batch = features.batch(pa.array(ids), pa.array(splits), np.arange(len(ids)), index, -1, values.astype(np.float32))
            out.write_batch(batch)
    counts = {s: splits.count(s) for s in SPLITS if s in splits}
    info = features.FeaturesInfo("clip", [-1], first.shape[1], "float32", sorted(x), counts, encoder, corpus)
    atomic.write_json(folder / features.INFO, as_plain(info))
    atomic.seal(folder)
    return folder
