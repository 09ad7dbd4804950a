"""Media values: checked, brought into their stored form, and counted; one function per kind of column.

What a reader may hand for each kind:

    image     encoded bytes                              pixels     uint8 (H, W, C), the column's shape
    waveform  WAV bytes of `wav_bytes`                   series     float (T, C), finite
    text, molecule  str                                  tokens     whole numbers (T,)
    edges     ids of neighbours                          points     float (N, 3), finite
    graph     (texts of nodes, pairs of places, degrees in the whole graph)
    events    list of (time in s, code, value or None), or the struct array of them, in time's order
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stages.common.corpus import Column
from stages.common.media import read_wav
from stages.ingest.core.item import BadItem

MAX_PIXELS = 64_000_000  # of one image, before it is decoded
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")


@dataclass(frozen=True)
class Stored:
    """A value as the corpus keeps it, the bytes by which copies are known, and its amounts by unit."""

    value: Any
    content: bytes
    amounts: dict[str, float]


def store(column: Column, value: Any, path: str) -> Stored:
    """The stored form of a media value. `path` goes beside encoded bytes. Raises BadItem with the reason."""
    if value is None:
        raise BadItem(f"no {column.name}")
    return _KINDS[column.kind](column, value, path)


def content_digest(parts: list[bytes]) -> bytes:
    """16 bytes that are the same for items with the same media, and different otherwise."""
    whole = hashlib.blake2b(digest_size=16)
    for content in parts:
        whole.update(len(content).to_bytes(8, "little"))
        whole.update(content)
    return whole.digest()


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Any:
    """The decoded Pillow image of encoded bytes. Raises BadItem: no image, truncated, too large."""
    from PIL import Image  # only where there are images

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
            if picture.width * picture.height > max_pixels:
                raise BadItem(f"an image of {picture.width} x {picture.height} pixels, above the limit of {max_pixels}")
            picture.load()
            picture.crop((0, 0, 1, 1)).convert("RGB").convert("L")  # what is stored as it is will be asked for so
    except BadItem:
        raise
    except Image.DecompressionBombError:
        raise BadItem(f"an image above the limit of {max_pixels} pixels") from None
    except Image.UnidentifiedImageError:
        raise BadItem("empty file" if not data else "not an image of a known format") from None
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes led them to
        raise BadItem(f"damaged image ({type(error).__name__})") from None
    return picture


def _image(column: Column, value: Any, path: str) -> Stored:
    picture = decode_image(value)
    return Stored({"bytes": value, "path": path}, value, {"pixels": float(picture.width * picture.height)})


def _pixels(column: Column, value: Any, path: str) -> Stored:
    array = np.asarray(value)
    if array.dtype != np.uint8 or list(array.shape) != column.shape:
        raise BadItem(f"pixels are {array.dtype} {list(array.shape)}, the column has uint8 {column.shape}")
    flat = np.ascontiguousarray(array).reshape(-1)
    return Stored(flat, flat.tobytes(), {"pixels": float(array.shape[0] * array.shape[1])})


def _waveform(column: Column, value: Any, path: str) -> Stored:
    samples = read_wav(value)
    if len(samples) == 0:
        raise BadItem("no samples")
    if not np.isfinite(samples).all():
        raise BadItem("samples that are not finite")
    return Stored({"bytes": value, "path": path}, value, {"seconds": len(samples) / (column.rate or 1)})


def _numbers(column: Column, value: Any, path: str) -> Stored:
    array = np.asarray(value, np.float32)
    array = array.reshape(-1, 1) if array.ndim == 1 else array
    shape = column.shape or [-1, array.shape[-1]]
    if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape, strict=True)):
        raise BadItem(f"{column.name} has shape {list(array.shape)}, the column {shape}")
    if array.size == 0:
        raise BadItem(f"empty {column.name}")
    if not np.isfinite(array).all():
        raise BadItem(f"{column.name} has values that are not finite")
    flat = np.ascontiguousarray(array).reshape(-1)
    return Stored(flat, flat.tobytes(), {"steps" if column.kind == "series" else "points": float(len(array))})


def _text(column: Column, value: Any, path: str) -> Stored:
    if not isinstance(value, str):
        raise BadItem(f"{column.name} is {type(value).__name__}, not text")
    if not value.strip():
        raise BadItem(f"empty {column.name}")
    return Stored(value, unicode_text(value, column.name), {"characters": float(len(value))})


def unicode_text(value: str, name: str) -> bytes:
    """The text in UTF-8. Raises BadItem for half a surrogate, which JSON can hold and no table can."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise BadItem(f"{name} is not Unicode text") from None


def _tokens(column: Column, value: Any, path: str) -> Stored:
    array = np.asarray(value)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise BadItem(f"{column.name} is no list of whole numbers" if array.size else f"empty {column.name}")
    if array.min() < -(1 << 31) or array.max() >= 1 << 31:
        raise BadItem(f"{column.name} holds numbers beyond 32 bits")
    array = array.astype(np.int32)
    return Stored(array, array.tobytes(), {"tokens": float(len(array))})


def _edges(column: Column, value: Any, path: str) -> Stored:
    if not isinstance(value, list | tuple | np.ndarray) or any(v is None or isinstance(v, list | dict) for v in value):
        raise BadItem(f"{column.name} is no list of ids")
    ids = [str(v) for v in value]
    unicode_text("".join(ids), column.name)
    return Stored(ids, b"", {"edges": float(len(ids))})  # who the neighbours are is no content of the node


def _graph(column: Column, value: Any, path: str) -> Stored:
    nodes, pairs, degree = list(value[0]), np.asarray(value[1], np.int64).reshape(-1, 2), np.asarray(value[2], np.int64)
    if not nodes:
        raise BadItem(f"{column.name} has no node")
    if not all(isinstance(text, str) for text in nodes) or len(degree) != len(nodes):
        raise BadItem(f"{column.name} lacks the text or the degree of a node")
    if pairs.size and (pairs.min() < 0 or pairs.max() >= len(nodes) or (pairs[:, 0] >= pairs[:, 1]).any()):
        raise BadItem(f"{column.name} has an edge that is no pair of its nodes, the earlier one first")
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise BadItem(f"{column.name} has an edge twice")
    if (np.bincount(pairs.reshape(-1), minlength=len(nodes)) > degree).any():
        raise BadItem(f"{column.name} has a node of more edges than its degree")
    stored = {"nodes": nodes, "edges": pairs.reshape(-1).tolist(), "degree": degree.tolist()}
    content = b"\0".join([text.encode("utf-8", "replace") for text in nodes]) + pairs.tobytes()
    return Stored(stored, content, {"nodes": float(len(nodes)), "edges": float(len(pairs))})


def _events(column: Column, value: Any, path: str) -> Stored:
    kind = column.type.value_type
    rows = [{"time": t, "code": c, "value": v} for t, c, v in value] if isinstance(value, list) else value
    try:
        events = pa.array(rows, kind) if isinstance(rows, list) else rows.cast(kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise BadItem(f"{column.name} hold what is no time, code or value") from None
    if len(events) == 0:
        raise BadItem(f"empty {column.name}")
    times, values = (events.field(n).to_numpy(zero_copy_only=False) for n in ("time", "value"))
    codes = events.field("code")
    if codes.null_count or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise BadItem(f"{column.name} lack codes or are not in the order of time")
    content = times.tobytes() + values.tobytes() + "\0".join(codes.to_pylist()).encode()
    return Stored(events, content, {"events": float(len(events))})


_KINDS: dict[str, Callable[[Column, Any, str], Stored]] = {
    "image": _image,
    "pixels": _pixels,
    "waveform": _waveform,
    "series": _numbers,
    "points": _numbers,
    "text": _text,
    "molecule": _text,
    "tokens": _tokens,
    "edges": _edges,
    "graph": _graph,
    "events": _events,
}
