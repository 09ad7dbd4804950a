"""Small sources written by the tests, and one call that ingests a plan."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stages.common import stage
from stages.common.corpus import Corpus
from stages.common.media import wav_bytes
from stages.common.plan import Plan
from stages.common.schema import build
from stages.common.workspace import Workspace
from stages.ingest.__main__ import inputs, target, work


def ingest(root: Path, plan: Mapping[str, Any], name: str = "c") -> Corpus:
    """The corpus that the stage makes of a corpus plan, in a workspace at `root`."""
    whole = build(Plan, {"corpora": {name: {"title": "made by a test", **plan}}}, "plan")
    return Corpus(stage.execute("ingest", name, whole, Workspace(root), work, inputs, target))


def picture(seed: int, size: tuple[int, int] = (12, 16), kind: str = "PNG") -> bytes:
    """A smooth colour picture of (height, width), unlike that of another seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize(size[::-1], Image.Resampling.BICUBIC).save(out, kind)
    return out.getvalue()


def tone(seed: int, rate: int = 8000, seconds: float = 0.1) -> bytes:
    time = np.arange(int(rate * seconds)) / rate
    return wav_bytes((8000 * np.sin(2 * np.pi * (200 + 37 * seed) * time)).astype(np.int16), rate)


def put(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder


def images(labels: Mapping[str, int], kind: str = "PNG", size: tuple[int, int] = (12, 16)) -> dict[str, bytes]:
    """{<folder>/<i>.png: picture} with so many pictures in each folder."""
    suffix = {"PNG": "png", "JPEG": "jpg"}[kind]
    names = [f"{folder}/{i:03d}.{suffix}" for folder, count in labels.items() for i in range(count)]
    return {name: picture(seed, size, kind) for seed, name in enumerate(names)}


def tar(path: Path, files: Mapping[str, bytes], root: str = "") -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, data in files.items():
            member = tarfile.TarInfo(root + name)
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return path


def shards(corpus: Corpus) -> list[bytes]:
    return [path.read_bytes() for path in corpus.files]


FOLDERS = {"reader": {"name": "image_folder"}, "labels": {"label": {"kind": "class"}}, "quarantine_share": 0.5}
HALVES = {"split": {"by": "hash", "fractions": {"train": 0.5, "test": 0.5}}}


def folder(path: Path, **plan: Any) -> dict[str, Any]:
    """The plan of a folder of images, class by class, changed by keywords."""
    return {"source": {"name": "folder", "path": str(path)}, **FOLDERS, **HALVES, **plan}
