"""A corpus of small row groups that has a column of every kind of media, and the front end that reads each."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from stages.common import atomic, corpus, registry
from stages.common.corpus import TOKENIZER, Column, Corpus
from stages.common.media import wav_bytes
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.encoders.core.encoder import Frontend
from stages.ingest.core.tokenizer import trained
from tests.builders import split_of, write_corpus

WORDS = "red green blue yellow black white"
COLUMNS = [
    Column("kind", "label", "class", classes=["a", "b", "c"]),
    Column("number", "label", "number"),
    Column("pixels", "media", "pixels", shape=[6, 6, 1]),
    Column("picture", "media", "image"),
    Column("wave", "media", "waveform", rate=8000),
    Column("series", "media", "series", shape=[-1, 2]),
    Column("text", "media", "text"),
    Column("events", "media", "events", classes=["x", "y"]),
    Column("around", "media", "graph"),
]
FRONTENDS: dict[str, dict[str, Any]] = {
    "pixels": {"name": "image"},
    "picture": {"name": "image", "height": 5, "width": 5, "channels": 3},
    "wave": {"name": "log_mel", "samples": 600, "n_mels": 8},
    "series": {"name": "series", "steps": 7},
    "text": {"name": "tokens", "length": 8},
    "events": {"name": "events", "length": 6},
    "around": {"name": "graph", "nodes": 4, "length": 6},
}


def media_corpus(folder: Path, n: int = 90, group: int = 6000) -> Corpus:
    """n items, three fifths of them in `train`; a row group holds about `group` bytes, and so a few items."""
    rng = np.random.default_rng(0)
    with mock.patch.object(corpus, "ROW_GROUP_BYTES", group):
        write_corpus(folder, COLUMNS, [row(i, rng) for i in range(n)])
    tokenizer = trained(lambda: iter([WORDS]), TokenizerPlan("words", 20))
    (folder / TOKENIZER).write_text(tokenizer.to_str())
    atomic.seal(folder)
    return Corpus(folder)


def row(i: int, rng: np.random.Generator) -> dict[str, object]:
    picture = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 7, 3), np.uint8)).save(picture, "png")
    words, count = WORDS.split(), int(rng.integers(1, 5))
    wave = (1000 * rng.standard_normal(int(rng.integers(300, 700)))).astype(np.int16)
    times = np.cumsum(rng.random(int(rng.integers(1, 9))))
    return {
        "id": f"i{i:05d}",
        "split": split_of(i),
        "group": f"g{i}",
        "kind": int(rng.integers(3)) if i % 7 else None,
        "number": float(rng.standard_normal()),
        "pixels": rng.integers(0, 256, 36, np.uint8),
        "picture": {"bytes": picture.getvalue(), "path": f"{i}.png"},
        "wave": {"bytes": wav_bytes(wave, 8000), "path": f"{i}.wav"},
        "series": rng.standard_normal(2 * int(rng.integers(2, 9))).astype(np.float32),
        "text": " ".join(rng.choice(words, int(rng.integers(1, 12)))),
        "events": [{"time": t, "code": str(rng.choice(["x", "y", "z"])), "value": float(t) if i % 2 else None} for t in times],
        "around": {
            "nodes": [str(w) for w in rng.choice(words, count)],
            "edges": [v for j in range(1, count) for v in (0, j)],
            "degree": [count - 1, *([1] * (count - 1))],
        },
    }


def frontend(made: Corpus, name: str) -> Frontend:
    """The front end of a media column."""
    part = Part.of(FRONTENDS[name], "frontend")
    found: Frontend = registry.make("frontend", part, made.card.media(name), made.folder)
    return found
