"""Ingest of folders of pictures and sounds beside Hugging Face datasets and a plain script: files to Parquet, media inside.

`load_dataset("imagefolder").to_parquet()` writes the files' paths, not the media; its builder writes Parquet with the media
when asked (`download_and_prepare(file_format="parquet")`), and that is what is compared. The plain script decodes each picture
to see that it is whole, keeps all in memory and does no more. Ingest also hashes the source, divides by class, looks for copies
and quarantines what is broken. Every run is a new process; imports do not count. How cost grows is looked at in one process, to
which ingest gives no others: it starts more where there is work for 2 s.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.core.case import Case, Line, Options, Run, Way, at_least, within

CLASSES, SIDE, RATE, WARM = 10, 32, 8000, 100
PEER = ("datasets",)
WHY = "the peer copies bytes; ingest also hashes, decodes and checks each item (notes.md)"


def cases(options: Options) -> list[Case]:
    few, clips = (200, 100) if options.quick else (10_000, 5_000)
    image, audio = {"kind": "image", "items": few}, {"kind": "audio", "items": clips}
    return [
        Case(
            "images",
            {
                "ours": Way("ingest", ours, image, items=few),
                "embedded": Way("imagefolder to Parquet, media inside", embedded, image, PEER, few),
                "paths": Way("imagefolder, to_parquet: paths only", paths, image, PEER, few),
                "plain": Way("plain script, all in memory", plain, image, items=few),
            },
            (
                Line(f"ingest of {few:,} JPEG files", "ours", ("embedded",), aim=at_least(2), why=WHY),
                Line(f"ingest of {few:,} JPEG files", "ours", ("paths",)),
                Line(f"ingest of {few:,} JPEG files", "ours", ("plain",)),
            ),
            prepare,
            {"sets": [image]},
            fresh=True,
            same=("rows",),
        ),
        Case(
            "sounds",
            {
                "ours": Way("ingest", ours, audio, items=clips),
                "embedded": Way("audiofolder to Parquet, media inside", embedded, audio, PEER, clips),
            },
            (Line(f"ingest of {clips:,} WAV files", "ours", ("embedded",), aim=at_least(2), why=WHY),),
            prepare,
            {"sets": [audio]},
            fresh=True,
            same=("rows",),
        ),
        *growth(options),
    ]


def growth(options: Options) -> list[Case]:
    """Seconds an item and peak memory at ten and a hundred times the files, in one process that took in a hundred before."""
    few, *more = [200, 400] if options.quick else [10_000, 100_000, *([1_000_000] if options.long else [])]
    made = []
    for many in more:
        sizes = {"few": few, "many": many}
        ways = {
            key: Way(f"ingest of {n:,} files", ours, {"kind": "image", "items": n, "warm": WARM}, items=n)
            for key, n in sizes.items()
        }
        lines = (
            Line(f"cost of an item of ingest at {many:,}", "many", ("few",), "cost", within(0.1)),
            Line(f"peak memory of ingest at {many:,}", "many", ("few",), "cost", None, "peak_mb"),
        )
        sets = [{"kind": "image", "items": n} for n in (WARM, few, many)]
        made.append(Case(f"growth to {many}", ways, lines, prepare, {"sets": sets}, fresh=True))
    return made


def prepare(folder: Path, sets: list[dict[str, object]]) -> None:
    for made in sets:
        at = _at(folder, str(made["kind"]), int(str(made["items"])))
        for i in range(int(str(made["items"]))):
            (at / f"c{i % CLASSES}").mkdir(parents=True, exist_ok=True)
            {"image": _picture, "audio": _sound}[str(made["kind"])](at / f"c{i % CLASSES}" / f"{i:07d}", i)


def _at(folder: Path, kind: str, items: int) -> Path:
    return folder / f"{kind}-{items}"


def _picture(path: Path, i: int) -> None:
    from PIL import Image

    small = Image.fromarray(np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path.with_suffix(".jpg"), quality=90)


def _sound(path: Path, i: int) -> None:
    """Half a second to a second and a half."""
    import soundfile

    rng = np.random.default_rng(i)
    wave = rng.normal(0, 2000, int(rng.integers(RATE // 2, 3 * RATE // 2))).astype(np.int16)
    soundfile.write(path.with_suffix(".wav"), wave, RATE)


def ours(folder: Path, kind: str, items: int, warm: int = 0) -> Run:
    """warm: so many files are taken in before, and this process stays the only one."""
    from stages.common import process, stage
    from stages.common.plan import Plan
    from stages.common.schema import build
    from stages.common.workspace import Workspace
    from stages.ingest.__main__ import inputs, target, work

    if warm:
        os.environ["PRELUDE_CORES"] = "1"
        before: Any = ours(folder, kind, warm)()
        before["rows"]()
    corpus = {
        "title": "benchmark",
        "source": {"name": "folder", "path": str(_at(folder, kind, items))},
        "reader": {"name": f"{kind}_folder"},
        "labels": {"label": {"kind": "class"}},
        "split": {"by": "hash", "stratify": "label"},
    }
    plan = build(Plan, {"corpora": {"c": corpus}}, "plan")
    process.keep_pandas_out()  # as every stage does

    def run() -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=folder))
        stage.execute("ingest", "c", plan, Workspace(out), work, inputs, target)
        return {"rows": lambda: _rows(out, "data/corpora")}  # the record holds the rows' digests, too

    return run


def embedded(folder: Path, kind: str, items: int) -> Run:
    datasets = _datasets()

    def run() -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=folder))
        given = {"data_dir": str(_at(folder, kind, items)), "cache_dir": f"{out}/cache"}
        datasets.load_dataset_builder(f"{kind}folder", **given).download_and_prepare(f"{out}/made", file_format="parquet")
        return {"rows": lambda: _rows(out)}

    return run


def paths(folder: Path, kind: str, items: int) -> Run:
    datasets = _datasets()

    def run() -> dict[str, Any]:
        out = Path(tempfile.mkdtemp(dir=folder))
        given = {"data_dir": str(_at(folder, kind, items)), "cache_dir": f"{out}/cache", "split": "train"}
        datasets.load_dataset(f"{kind}folder", **given).to_parquet(f"{out}/all.parquet")
        return {"rows": lambda: _rows(out)}

    return run


def _datasets() -> Any:
    """The library, which asks no hub and prints no bars.

    It imports torchcodec's encoder wherever sounds come in, though it does not use it for files: where that library is missing,
    the name stands there empty.
    """
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    import datasets

    datasets.disable_progress_bars()
    if find_spec("torchcodec") is None:
        for name in ("torchcodec", "torchcodec.encoders"):
            sys.modules[name] = ModuleType(name)
        sys.modules["torchcodec.encoders"].AudioEncoder = None  # type: ignore[attr-defined]
    return datasets


def plain(folder: Path, kind: str, items: int) -> Run:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    def run() -> dict[str, Any]:
        rows = []
        for path in sorted(_at(folder, kind, items).rglob("*.jpg")):
            data = path.read_bytes()
            Image.open(io.BytesIO(data)).load()
            rows.append({"id": str(path), "label": path.parent.name, "image": {"bytes": data, "path": path.name}})
        out = Path(tempfile.mkdtemp(dir=folder))
        pq.write_table(pa.Table.from_pylist(rows), out / "all.parquet", compression="zstd")
        return {"rows": lambda: _rows(out)}

    return run


def _rows(folder: Path, below: str = ".") -> int:
    """Of all Parquet files below a folder in `folder`, which is removed."""
    import pyarrow.parquet as pq

    found = sum(pq.ParquetFile(p).metadata.num_rows for p in (folder / below).rglob("*.parquet"))
    shutil.rmtree(folder)
    return found
