"""Speed and memory of ingest beside the plain script that one would write: python -m benchmarks.ingest [--items 10000 40000].

Both read a folder of JPEG images by class, decode each to see that it is whole, and write Parquet. The plain script keeps all
in memory and does no more; ingest also hashes the source, divides by class, looks for copies and quarantines what is broken.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES, SIDE = 10, 32


def make(folder: Path, count: int) -> None:
    from PIL import Image

    for i in range(count):
        rng = np.random.default_rng(i)
        image = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        path = folder / f"c{i % CLASSES}" / f"{i:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)


def plain(folder: Path, out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rows = []
    for path in sorted(folder.rglob("*.jpg")):
        data = path.read_bytes()
        Image.open(io.BytesIO(data)).load()
        rows.append({"id": str(path), "label": path.parent.name, "image": {"bytes": data, "path": path.name}})
    pq.write_table(pa.Table.from_pylist(rows), out / "all.parquet", compression="zstd")


def prelude(folder: Path, out: Path) -> None:
    from stages.common import stage
    from stages.common.plan import Plan
    from stages.common.schema import build
    from stages.common.workspace import Workspace
    from stages.ingest.__main__ import inputs, target, work

    corpus = {
        "title": "benchmark",
        "source": {"name": "folder", "path": str(folder)},
        "reader": {"name": "image_folder"},
        "labels": {"label": {"kind": "class"}},
        "split": {"by": "hash", "stratify": "label"},
    }
    plan = build(Plan, {"corpora": {"c": corpus}}, "plan")
    stage.execute("ingest", "c", plan, Workspace(out), work, inputs, target)


def measure(way: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak MiB of one way in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "benchmarks.ingest", "--one", way, str(folder), out]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found["seconds"], found["peak_mb"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[10_000, 40_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        way, folder, out = args.one
        started = time.monotonic()
        {"plain": plain, "prelude": prelude}[way](Path(folder), Path(out))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.monotonic() - started, "peak_mb": peak}))
        return
    print("| items | way | items/s (median) | peak MiB |\n|---|---|---|---|")
    for count in args.items:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), count)
            measured: dict[str, list[tuple[float, float]]] = {"plain": [], "prelude": []}
            for _ in range(args.runs):
                for way in measured:  # interleaved, so that a busy machine slows both
                    measured[way].append(measure(way, Path(folder)))
        for way, found in measured.items():
            seconds, peak = np.median([s for s, _ in found]), max(m for _, m in found)
            print(f"| {count} | {way} | {count / seconds:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
