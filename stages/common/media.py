"""From stored media to arrays: what a corpus column becomes under an encoder's input contract. NumPy only.

contract {"kind": "image", "height", "width", "channels"}  ->  uint8   (N, H, W, C), resized if need be
contract {"kind": "waveform", "rate", "samples"}           ->  int16 or float32 (N, samples), zero-padded or cut; lengths (N,)
contract {"kind": "series", "steps", "channels"}           ->  float32 (N, T, C), zero-padded or cut; lengths (N,)
contract {"kind": "tokens", "length", "tokenizer"}         ->  int32 (N, length), zero-padded or cut; lengths (N,)
contract {"kind": "events", "length", "codes", "keep"}     ->  float32 (N, length, 3), see events.py; lengths (N,)
contract {"kind": "graph", "nodes", "length", "tokenizer"} ->  int32 (N, nodes, length + 2 + nodes), see graphs.py; lengths (N,)
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from stages.common import events, graphs
from stages.common.corpus import Column
from stages.common.errors import ContractError
from stages.common.symbols import SPECIAL, symbols

__all__ = ["SPECIAL", "WAV_HEADER", "Media", "decode", "read_wav", "tokenised", "wav_bytes"]

WAV_HEADER = 44
_DTYPES = {(1, 16): "<i2", (3, 32): "<f4"}  # by format code and bits: PCM, IEEE float


@dataclass
class Media:
    """Decoded items: data (N, ...) and, for kinds of varying length, lengths (N,) in samples or steps."""

    data: np.ndarray
    lengths: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.data)


def decode(array: pa.Array | pa.ChunkedArray, column: Column, contract: dict[str, Any]) -> Media:
    """Decodes a column's values under an input contract. Raises ContractError where the column does not fit it."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    kind = contract["kind"]
    if kind == "image" and column.kind == "pixels":
        return Media(_pixels(array, column, contract))
    if kind == "image" and column.kind == "image":
        return Media(_images(array, contract))
    if kind == "waveform" and column.kind == "waveform":
        if column.rate != contract["rate"]:
            raise ContractError(f"column {column.name!r} has {column.rate} Hz, the encoder takes {contract['rate']} Hz")
        return _padded(_one_scale([read_wav(v) for v in array.field("bytes").to_pylist()]), contract["samples"])
    if kind == "series" and column.kind == "series":
        return _padded(_series(array, column, contract), contract["steps"], tail=(contract["channels"],))
    if kind == "tokens" and column.kind in ("text", "molecule", "string") and contract["tokenizer"]:
        return tokenised(array, contract["tokenizer"], contract["length"])
    if kind == "tokens" and column.kind == "tokens":
        return _padded(_lists(array), contract["length"])
    if kind == "events" and column.kind == "events":
        return Media(*events.decoded(array, contract))
    if kind == "graph" and column.kind == "graph":
        return Media(*graphs.decode(array, column.name, contract))
    raise ContractError(
        f"column {column.name!r} holds {column.kind}, the encoder takes {kind}",
        do="choose a corpus of that kind, or a front end for this one",
    )


def tokenised(texts: pa.Array, tokenizer: str, length: int) -> Media:
    """Strings as symbols under a tokenizer file: int32 (N, length), 0 ([PAD]) after each text's own. Long ones are cut."""
    return Media(*symbols(tokenizer).rows(texts, length))


def wav_bytes(samples: np.ndarray, rate: int) -> bytes:
    """Canonical mono WAV (44-byte header) of int16 or float32 samples (T,)."""
    samples = np.ascontiguousarray(samples)
    code, width = {"int16": (1, 2), "float32": (3, 4)}[samples.dtype.name]
    body = samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes()
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(body),
        b"WAVE",
        b"fmt ",
        16,
        code,
        1,
        rate,
        rate * width,
        width,
        8 * width,
        b"data",
        len(body),
    )
    return head + body


def read_wav(data: bytes) -> np.ndarray:
    """The samples (T,) of a canonical WAV, int16 or float32. Raises ContractError."""
    sound = len(data) >= WAV_HEADER and data[:4] == b"RIFF" and data[36:40] == b"data"
    if sound:
        code, channels = struct.unpack_from("<HH", data, 20)
        bits, size = struct.unpack_from("<H", data, 34)[0], struct.unpack_from("<I", data, 40)[0]
        sound = channels == 1 and (code, bits) in _DTYPES and size == len(data) - WAV_HEADER and size * 8 % bits == 0
    if not sound:
        raise ContractError("a waveform is not canonical WAV", do="run the ingest again")
    return np.frombuffer(data, _DTYPES[code, bits], offset=WAV_HEADER)


def _one_scale(items: list[np.ndarray]) -> list[np.ndarray]:
    """int16 stays so where all items are; beside float32 it becomes float32 of full scale 1."""
    if len({item.dtype for item in items}) < 2:
        return items
    return [item if item.dtype == np.float32 else item.astype(np.float32) / 32768 for item in items]


def _pixels(array: pa.Array, column: Column, contract: dict[str, Any]) -> np.ndarray:
    shape = column.shape or []
    wanted = [contract["height"], contract["width"], contract["channels"]]
    if list(shape) != wanted:
        raise ContractError(f"column {column.name!r} has shape {shape}, the encoder takes {wanted}")
    return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), *shape)


def _images(array: pa.Array, contract: dict[str, Any]) -> np.ndarray:
    from PIL import Image  # only where images are stored encoded

    height, width, channels = contract["height"], contract["width"], contract["channels"]
    out = np.empty((len(array), height, width, channels), np.uint8)
    for i, stored in enumerate(array.to_pylist()):
        try:
            with Image.open(io.BytesIO(stored["bytes"])) as picture:
                image = picture.convert("RGB" if channels == 3 else "L")
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
            do = "run the ingest again"
            raise ContractError(f"a picture cannot be decoded: {error}", where=stored["path"], do=do) from None
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        out[i] = np.asarray(image).reshape(height, width, channels)
    return out


def _series(array: pa.Array, column: Column, contract: dict[str, Any]) -> list[np.ndarray]:
    channels = (column.shape or [1])[-1]
    if channels != contract["channels"]:
        raise ContractError(f"column {column.name!r} has {channels} channels, the encoder takes {contract['channels']}")
    values = array.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    sizes = np.diff(array.offsets.to_numpy()) if hasattr(array, "offsets") else np.full(len(array), array.type.list_size)
    for size in sizes[sizes % channels != 0]:
        raise ContractError(f"column {column.name!r} holds {size} values, not a multiple of {channels} channels")
    ends = np.cumsum(sizes)
    return [values[end - size : end].reshape(-1, channels) for end, size in zip(ends, sizes, strict=True)]


def _lists(array: pa.Array) -> list[np.ndarray]:
    """A list column's values, item by item."""
    values, offsets = array.flatten().to_numpy(zero_copy_only=False), array.offsets.to_numpy()
    return np.split(values, offsets[1:-1] - offsets[0])


def _padded(items: list[np.ndarray], size: int, tail: tuple[int, ...] = ()) -> Media:
    """Items (T_i, *tail) as one array (N, size, *tail)."""
    data = np.zeros((len(items), size, *tail), items[0].dtype if items else np.float32)
    lengths = np.array([min(len(item), size) for item in items], np.int64)
    for row, item, length in zip(data, items, lengths, strict=True):
        row[:length] = item[:length]
    return Media(data, lengths)
