"""Extraction against its encoder alone: rows/s of both on the same batches, and peak memory as the corpus grows."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 9
SIZES = (1_000, 10_000)
AIM = 0.95


def prepare(root: Path, items: int) -> None:
    """A corpus `c` of 32-pixel colour images and a random ResNet-18 of width 16, `e`, in a workspace."""
    import torch

    from stages.common import atomic
    from stages.common.corpus import Corpus
    from stages.common.schema import Part
    from stages.encoders.core import encoder as encoders
    from tests.builders import image_corpus

    image_corpus(root / "data/corpora/c", n=items, size=32, channels=3)
    column = Corpus(root / "data/corpora/c").card.media()
    torch.manual_seed(0)
    parts = (Part("image"), Part("resnet", {"width": 16}), column)
    encoder = encoders.new(*parts, root / "data/corpora/c")
    folder = root / "data/encoders/e/seed=0"
    folder.mkdir(parents=True)
    encoders.save(folder, encoder, encoders.EncoderCard(*parts, "c", "c", "c", "none", 0, 0, encoder.width))
    atomic.seal(folder.parent)


def extraction(root: Path):  # type: ignore[no-untyped-def]
    import torch

    from stages.common.corpus import Corpus
    from stages.common.plan import FeaturesPlan
    from stages.extract.extraction import Extraction

    corpus = Corpus(root / "data/corpora/c")
    return Extraction(0, FeaturesPlan("e", "c"), root / "data/encoders/e", corpus, torch.device("cpu"))


def peak(root: Path) -> None:
    """Prints this process's peak memory in MiB after one extraction."""
    from stages.common.process import set_threads
    from stages.common.records import peak_memory_mb

    set_threads(1)
    extraction(root).run(root / "out")
    print(peak_memory_mb())


def main() -> None:
    import torch

    from stages.common.process import set_threads

    set_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        roots = {items: Path(temporary) / str(items) for items in SIZES}
        for items, root in roots.items():
            prepare(root, items)
        whole = extraction(roots[SIZES[-1]])
        inputs = [whole.encoder.frontend(b.data, b.lengths) for b in whole.batches(0, whole.node.batch_size)]
        runs = 0

        def forward() -> None:
            with torch.inference_mode():
                for x in inputs:
                    whole.encoder(x)

        def extract() -> None:
            nonlocal runs
            runs += 1
            whole.run(Path(temporary) / f"run-{runs}")

        seconds: dict[str, list[float]] = {"forward": [], "extract": []}
        for repeat in range(REPEATS + 1):  # interleaved, in turn the one and the other first; the first pair warms up
            pair = [("forward", forward), ("extract", extract)]
            for name, work in pair if repeat % 2 else reversed(pair):
                began = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - began)
        rates = {name: SIZES[-1] / statistics.median(taken[1:]) for name, taken in seconds.items()}
        ratio = rates["extract"] / rates["forward"]
        print(f"{'resnet width 16, 32 px':28} {'rows/s':>8}")
        print(f"{'forward alone':28} {rates['forward']:8.0f}")
        print(f"{'extract to Parquet':28} {rates['extract']:8.0f}   ratio {ratio:.3f} (aim {AIM})")
        for items, root in roots.items():
            command = [sys.executable, "-c", f"from benchmarks.extract import *; peak(Path({str(root)!r}))"]
            memory = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{f'peak memory, {items} rows':28} {memory:8.0f} MiB")


if __name__ == "__main__":
    main()
