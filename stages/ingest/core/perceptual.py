"""What an image looks like, in few numbers: its lowest cosine frequencies, and a 64-bit perceptual hash of them.

The image is made grey and 32 x 32; X is its two-dimensional DCT-II, low = X[0:8, 0:8]. The hash sets a bit where a coefficient
exceeds the median of all but the first (the mean brightness). Zauner 2010, "Implementation and benchmarking of perceptual image
hash functions", sec. 3.2.1. Recoding, small changes of brightness and small noise turn few bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from stages.common.corpus import Column
from stages.ingest.core.values import decode_image

SIDE, LOW = 32, 8
_K, _N = np.arange(LOW)[:, None], np.arange(SIDE)[None, :]
_DCT = np.cos(np.pi * _K * (2 * _N + 1) / (2 * SIDE)) * np.where(_K == 0, np.sqrt(0.5), 1.0)
_BITS = np.uint64(1) << np.arange(64, dtype=np.uint64)


@dataclass(frozen=True)
class Looks:
    """hashes (N,) uint64; shape (N, 63) float32: all coefficients but the first, at unit norm (flat images: 0)."""

    hashes: np.ndarray
    shape: np.ndarray


def looks_of(column: Column, chunks: Iterable[pa.Array], threads: int = 2) -> Looks:
    """The looks of an image or pixels column, given in chunks. Decoding runs in `threads` (Pillow frees the lock)."""
    with ThreadPoolExecutor(threads) as pool:
        parts = [looks(np.stack(list(pool.map(grey, _pictures(column, chunk))))) for chunk in chunks if len(chunk)]
    return Looks(np.concatenate([p.hashes for p in parts]), np.concatenate([p.shape for p in parts]))


def looks(images: np.ndarray) -> Looks:
    """The looks of grey images (N, 32, 32)."""
    low = (_DCT @ images.astype(np.float64) @ _DCT.T).reshape(len(images), LOW * LOW)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    norm = np.linalg.norm(low[:, 1:], axis=1, keepdims=True)
    shape = low[:, 1:] / np.where(norm > 1e-6, norm, np.inf)
    return Looks((bits.astype(np.uint64) * _BITS).sum(1, dtype=np.uint64), shape.astype(np.float32))


def grey(picture: bytes | np.ndarray) -> np.ndarray:
    """An encoded image or an array (H, W, C) uint8 as grey (32, 32) uint8."""
    from PIL import Image  # only where there are images

    if isinstance(picture, bytes):
        image = decode_image(picture)
    else:
        image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture[:, :, :3])
    image = image.convert("L")
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(image)


def _pictures(column: Column, chunk: pa.Array) -> list[bytes] | list[np.ndarray]:
    if column.kind == "image":
        return chunk.field("bytes").to_pylist()
    flat = chunk.flatten().to_numpy(zero_copy_only=False)
    return list(flat.reshape(len(chunk), *(column.shape or [])))
