"""Pictures for benchmarks: CIFAR-10 from the mirror, else made of the same kind."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np

SIDE = 32
_ARCHIVE = Path("cifar10-jpg/cifar10-jpg.tar.gz")


def kind(mirror: Path | None) -> str:
    """What `prepare` will write, for the table."""
    return "CIFAR-10" if mirror and (mirror / _ARCHIVE).exists() else "made pictures (no mirror)"


def prepare(folder: Path, items: int, mirror: Path | None) -> None:
    """images.npy: uint8 (items, 32, 32, 3)."""
    found = cifar(mirror / _ARCHIVE, items) if mirror and (mirror / _ARCHIVE).exists() else made(items)
    np.save(folder / "images.npy", found)


def cifar(archive: Path, items: int) -> np.ndarray:
    """The first of the archive's training pictures."""
    from PIL import Image

    found: list[np.ndarray] = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if len(found) == items:
                break
            file = tar.extractfile(member) if "/train/" in f"/{member.name}" and member.name.endswith(".jpg") else None
            if file is not None:
                found.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
    return np.stack(found)


def made(items: int) -> np.ndarray:
    """Smooth noise: 4 x 4 colours, resized."""
    from PIL import Image

    draw = np.random.default_rng(0)
    small = draw.integers(0, 256, (items, 4, 4, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(s).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for s in small])
