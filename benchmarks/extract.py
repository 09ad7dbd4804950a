"""Extraction against its encoder alone and against DataLoader with pandas, and memory and cost as the corpus grows.

A random ResNet-18 of width 16 over pictures of 32 px, one thread, embeddings to Parquet. The peer reads the same corpus into
memory, hands it out by a DataLoader (the better of 0 and 2 workers), collects the embeddings and writes a data frame. As the
corpus grows the encoder is a small one, so that what reads and writes counts for more.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least, within

SIDE, BATCH = 32, 512
FIXED = "up to 0.35 s of a run do not grow with its rows: of 10,000 rows and a small network a tenth"
WANDERS = "it wanders without a trend, and a longer run sees more of its highs (notes.md)"
RESNET_18, SMALL = {"width": 16}, {"width": 4, "blocks": [1, 1, 1]}


def cases(options: Options) -> list[Case]:
    items = 64 if options.quick else 10_000
    ways = {
        "ours": Way("extract", ours, {"items": items}, items=items),
        "forward": Way("the encoder alone, the same batches", forward, {"items": items}, items=items),
    }
    loaders = {
        f"loader_{n}": Way(f"DataLoader ({n} workers) and pandas", loader, {"items": items, "workers": n}, ("pandas",), items)
        for n in ((0,) if options.quick else (0, 2))
    }
    what = "extract, ResNet-18 width 16, 32 px, 1 thread"
    lines = (
        Line(
            f"{what}: rows/s as a share",
            "ours",
            ("forward",),
            aim=at_least(0.97),
            why="reading, decoding and writing share the machine with the encoder",
        ),
        Line(what, "ours", tuple(loaders), aim=at_least(1), why="98% of it is the encoder, which the peer runs too"),
    )
    rate = Case(
        "rate", ways | loaders, lines, prepare, {"sizes": [items], "resnet": RESNET_18}, same=("checksum",), tolerance=1e-4
    )
    return [rate, *growth(options)]


def growth(options: Options) -> list[Case]:
    """Peak memory and seconds an item at ten and a hundred times the rows; in new processes, after one batch to warm up."""
    few, *more = [64, 640] if options.quick else [10_000, 100_000, *([1_000_000] if options.long else [])]
    made = []
    for many in more:
        ways = {
            "few": Way(f"extract of {few:,} rows", ours, {"items": few, "warm": True}, items=few),
            "many": Way(f"extract of {many:,} rows", ours, {"items": many, "warm": True}, items=many),
        }
        lines = (
            Line(f"peak memory of extract at {many:,} rows", "many", ("few",), "cost", within(0.1), "peak_mb", why=WANDERS),
            Line(f"cost of a row of extract at {many:,} rows", "many", ("few",), "cost", within(0.1), why=FIXED),
        )
        made.append(Case(f"{many}", ways, lines, prepare, {"sizes": [few, many], "resnet": SMALL}, fresh=True))
    return made


def prepare(folder: Path, sizes: Sequence[int], resnet: dict[str, Any]) -> None:
    """For each number of items a corpus `c` and a random encoder `e`, in a workspace of its own."""
    import torch

    from stages.common import atomic
    from stages.common.corpus import Corpus
    from stages.common.schema import Part
    from stages.encoders.core import encoder as encoders
    from tests.builders import image_corpus

    for items in sizes:
        root = folder / str(items)
        image_corpus(root / "data/corpora/c", n=items, size=SIDE, channels=3)
        column = Corpus(root / "data/corpora/c").card.media()
        torch.manual_seed(0)
        parts = (Part("image"), Part("resnet", resnet), column)
        encoder = encoders.new(*parts, root / "data/corpora/c")
        written = root / "data/encoders/e/seed=0"
        written.mkdir(parents=True)
        encoders.save(written, encoder, encoders.EncoderCard(*parts, "c", "c", "c", "none", 0, 0, encoder.width))
        atomic.seal(written.parent)


def extraction(root: Path) -> Any:
    import torch

    from stages.common.corpus import Corpus
    from stages.common.plan import FeaturesPlan
    from stages.common.process import set_threads
    from stages.extract.extraction import Extraction

    set_threads(1)
    node = FeaturesPlan("e", "c", batch_size=BATCH)
    return Extraction(0, node, root / "data/encoders/e", Corpus(root / "data/corpora/c"), torch.device("cpu"))


def ours(folder: Path, items: int, warm: bool = False) -> Run:
    import torch

    whole = extraction(folder / str(items))
    if warm:
        batch = next(whole.batches(0, BATCH))
        with torch.inference_mode():
            whole.embedder(batch)

    def run() -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=folder))
        whole.run(out / "seed=0")
        return {"checksum": lambda: written(out)}

    return run


def written(folder: Path) -> float:
    """The sum of the first row's embedding; the folder is removed."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    first = next(iter(pq.ParquetFile(min(folder.rglob("*.parquet"))).iter_batches(1, columns=["embedding"])))
    shutil.rmtree(folder)
    return float(pc.sum(pc.list_flatten(first["embedding"])).as_py())


def forward(folder: Path, items: int) -> Run:
    import torch

    whole = extraction(folder / str(items))
    inputs = [whole.encoder.frontend(b.data, b.lengths) for b in whole.batches(0, BATCH)]

    def run() -> dict[str, float]:
        with torch.inference_mode():
            found = [whole.encoder(x) for x in inputs]
        return {"checksum": float(found[0][0].sum())}

    return run


def loader(folder: Path, items: int, workers: int) -> Run:
    """What one would write: the same encoder in a loop over a DataLoader, the features as a data frame."""
    import numpy as np
    import pandas as pd
    import torch

    whole = extraction(folder / str(items))
    encoder, root = whole.encoder, folder / str(items)
    workers_too: dict[str, Any] = {"persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}

    def run() -> dict[str, Any]:
        frame = pd.concat([pd.read_parquet(p) for p in sorted((root / "data/corpora/c").glob("*.parquet"))])
        frame = pd.concat([frame[frame["split"] == split] for split in ("train", "valid", "test")])
        pixels = frame["image"].to_list()

        class Pictures(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(pixels)

            def __getitem__(self, index: int) -> torch.Tensor:
                return torch.from_numpy(np.array(pixels[index]).reshape(SIDE, SIDE, 3))

        data = torch.utils.data.DataLoader(Pictures(), BATCH, num_workers=workers, **workers_too)
        with torch.inference_mode():
            found = np.concatenate([encoder(encoder.frontend(x)).numpy() for x in data])
        out = Path(tempfile.mkdtemp(dir=folder))
        rows = {"id": frame["id"].to_numpy(), "split": frame["split"].to_numpy(), "embedding": list(found)}
        pd.DataFrame(rows).to_parquet(out / "features.parquet")
        return {"checksum": lambda: written(out)}

    return run
