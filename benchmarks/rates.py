"""What a sample costs on this machine: bytes stored, and seconds of one core to read, view, embed and train on it.

    python -m benchmarks.rates [--write]        # --write: into benchmarks/rates.json, which `benchmarks.expected` reads

One thread, seconds of the process and not of the clock, median of three. A training step is forward and backward of the encoder
on every view of a sample; objective, optimiser and exchange between nodes are left out.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from stages.common import registry
from stages.common.column import Column
from stages.common.media import decode, wav_bytes
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders

REPEATS = 3
RATES = Path(__file__).with_name("rates.json")


def picture(side: int, seed: int) -> np.ndarray:
    """(side, side, 3) uint8: blurred noise under a little sharp noise, so that JPEG has something to leave out."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(1, 3, max(2, side // 16), max(2, side // 16))))
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[0].permute(1, 2, 0).numpy()
    return np.clip(128 + 50 * smooth + 6 * rng.normal(size=smooth.shape), 0, 255).astype(np.uint8)


def pixels(n: int) -> tuple[Column, pa.Array, int]:
    """n pictures of 32 x 32 stored as they are; bytes of one."""
    column = Column("image", "media", "pixels", shape=[32, 32, 3])
    return column, pa.array([picture(32, i).reshape(-1) for i in range(n)], column.type), 32 * 32 * 3


def jpeg(n: int) -> tuple[Column, pa.Array, int]:
    """n pictures of 224 x 224 as JPEG of quality 90."""
    from PIL import Image

    stored = [io.BytesIO() for _ in range(n)]
    for i, out in enumerate(stored):
        Image.fromarray(picture(224, i)).save(out, "JPEG", quality=90)
    column = Column("image", "media", "image", shape=[224, 224, 3])
    rows = [{"bytes": out.getvalue(), "path": "a.jpg"} for out in stored]
    return column, pa.array(rows, column.type), round(statistics.mean(len(row["bytes"]) for row in rows))


def speech(n: int) -> tuple[Column, pa.Array, int]:
    """n recordings of 10 s at 16 kHz, int16."""
    draw = np.random.default_rng(0)
    stored = [wav_bytes(draw.integers(-3000, 3000, 160_000).astype(np.int16), 16_000) for _ in range(n)]
    column = Column("sound", "media", "waveform", rate=16_000)
    return column, pa.array([{"bytes": wav, "path": "a.wav"} for wav in stored], column.type), len(stored[0])


def text(n: int, folder: Path) -> tuple[Column, pa.Array, int]:
    """n texts of 115 words, which are 128 symbols or more and cut there."""
    from benchmarks.text import WORDS, texts
    from stages.common.plan import TokenizerPlan
    from stages.ingest.core.tokenizer import trained

    words = " ".join(texts(3000, WORDS)).split()
    rows = [" ".join(words[115 * i : 115 * (i + 1)]) for i in range(min(n, len(words) // 115))]
    (folder / "tokenizer.json").write_text(trained(lambda: iter(rows), TokenizerPlan(vocabulary=2000)).to_str())
    stored = [rows[i % len(rows)] for i in range(n)]
    return Column("text", "media", "text"), pa.array(stored), round(statistics.mean(len(r.encode()) for r in stored))


def seconds(work: Callable[[], Any], samples: int) -> float:
    """Of one core, for one sample."""
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken) / samples


def measured(
    stored: tuple[Column, pa.Array, int], parts: tuple[Part, Part], folder: Path, batch: int, views: Part | None
) -> dict[str, float]:
    """The rates of one kind of sample: its column, some of them stored, bytes of one; front end and backbone."""
    column, array, size = stored
    encoder = encoders.new(*parts, column, folder)
    contract = encoder.frontend.contract
    shard = io.BytesIO()
    pq.write_table(pa.table({"media": array}), shard, compression="zstd", compression_level=1)

    def read() -> None:
        decode(pq.read_table(pa.BufferReader(shard.getbuffer()), use_threads=False)["media"], column, contract)

    media = decode(array.slice(0, batch), column, contract)
    data = torch.from_numpy(media.data.copy())  # Arrow lends it read-only
    lengths = None if media.lengths is None else torch.from_numpy(media.lengths)
    x: Any = encoder.frontend(data, lengths)
    found = {"bytes": float(size), "decode_s": seconds(read, len(array)), "views_s": 0.0}
    made: list[Any] = [x]
    if views is not None:
        from stages.views.core.base import Key

        part: Any = registry.make("views", views, encoder.frontend)
        key = Key(0, 0, torch.arange(batch))
        made = list(part(data, None, key))
        found["views_s"] = seconds(lambda: part(data, None, key), batch)

    def forward() -> Tensor:
        with torch.inference_mode():
            return encoder.eval()(x)

    def train() -> None:
        encoder.train()
        sum(encoder(view).square().mean() for view in made).backward()

    found["forward_s"], found["train_s"] = seconds(forward, batch), seconds(train, batch)
    parameters = sum(p.numel() for p in encoder.parameters())
    return {**found, "views": float(len(made)), "dimension": float(encoder.width), "parameters": float(parameters)}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    crops = Part("crop_colour")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        vit = Part("vit", {"patch": 16, "dim": 384, "depth": 12, "heads": 6})
        bert = Part("text_transformer", {"dim": 768, "depth": 12, "heads": 12})
        waves = Part("waveform", {"samples": 160_000})
        kinds = {
            "pictures 32 px": lambda: measured(pixels(512), (Part("image"), Part("resnet")), folder, 8, crops),
            "pictures 224 px": lambda: measured(jpeg(32), (Part("image"), vit), folder, 2, crops),
            "speech 10 s": lambda: measured(speech(16), (waves, Part("wav2vec2")), folder, 1, None),
            "text 128 tokens": lambda: measured(text(300, folder), (Part("tokens", {"length": 128}), bert), folder, 2, None),
        }
        rates = {}
        for name, measure in kinds.items():
            rates[name] = {key: float(f"{value:.3g}") for key, value in measure().items()}
            print(f"{name:16}", "  ".join(f"{key} {value:.3g}" for key, value in rates[name].items()), flush=True)
    if "--write" in sys.argv[1:]:
        RATES.write_text(json.dumps(rates, indent=1) + "\n")


if __name__ == "__main__":
    main()
