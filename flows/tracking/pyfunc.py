"""An encoder as an MLflow model: raw media in, embeddings out. Nothing is pickled.

MLflow's generic Python flavour names this module as the loader; the model's folder holds the encoder's safetensors and JSON
card. So prelude must be installed where the model is loaded (`pip install prelude-ssl`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from stages.common import media
from stages.common.column import Column
from stages.common.errors import ContractError

ROWS_AT_ONCE = 256


class EncoderModel:
    """What `mlflow.pyfunc.load_model` hands out."""

    def __init__(self, folder: Path) -> None:
        from stages.encoders.core import encoder

        self.encoder, self.card = encoder.load(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """model_input -> h (N, D) float32. Raises ContractError. The input is as the encoder's contract decodes it:

        image     uint8 (N, H, W, C)
        waveform  float32 in [-1, 1] (N, samples), or an object array of N waveforms of any length
        series    float32 (N, T, C), or an object array of N series of any length
        tokens    N texts, or N sequences of whole numbers
        graph     N mappings of nodes (texts), edges (pairs of places, flat) and degree, as a corpus stores them
        events    N lists of mappings of time (seconds), code and value, in time's order

        or a data frame or mapping whose media column holds such values, one per row.
        """
        import torch

        data, lengths = decoded(model_input, self.encoder.frontend.contract, self.card.column.name)
        found = []
        with torch.inference_mode():
            for start in range(0, len(data), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                some = None if lengths is None else torch.from_numpy(lengths[rows])
                x = self.encoder.frontend(torch.from_numpy(np.ascontiguousarray(data[rows])), some)
                found.append(self.encoder(x).float().numpy())
        return np.concatenate(found) if found else np.empty((0, self.card.width), np.float32)


def decoded(model_input: Any, contract: dict[str, Any], column: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The input as one array (N, ...) and, for media of varying length, lengths (N,). Raises ContractError.

    A mapping or a data frame gives its media column; items of any length are zero-padded or cut to the contract's size.
    """
    if hasattr(model_input, "columns") or isinstance(model_input, dict):
        names = list(model_input)
        if column not in names and len(names) != 1:
            raise ContractError(f"no column {column!r} among {names}", where="predict", do=f"name the media column {column!r}")
        model_input = model_input[column if column in names else names[0]]
    kind, size = contract["kind"], next((contract[k] for k in ("samples", "steps", "length") if k in contract), None)
    if kind in ("graph", "events"):  # as a corpus stores them
        stored = Column(column, "media", kind)
        read = media.decode(pa.array(list(model_input), stored.type), stored, contract)
        return read.data, read.lengths
    values = model_input if isinstance(model_input, np.ndarray) else np.asarray(model_input)
    if kind == "image":
        shape = (contract["height"], contract["width"], contract["channels"])
        values = np.stack([np.asarray(v) for v in values]) if values.dtype == object else values
        try:
            return values.reshape(len(values), *shape).astype(np.uint8, copy=False), None
        except ValueError:
            raise ContractError(f"images of shape {values.shape[1:]}, the encoder takes {shape}", where="predict") from None
    if kind == "tokens" and contract["tokenizer"]:
        read = media.tokenised(pa.array([str(v) for v in values], pa.string()), contract["tokenizer"], contract["length"])
        return read.data, read.lengths
    if size is None:
        return values, None
    items = [np.asarray(v, None if values.dtype == object else values.dtype) for v in values]
    if kind == "series":
        items = [item.reshape(-1, contract["channels"]) for item in items]
    lengths = np.array([min(len(item), size) for item in items], np.int64)
    padded = np.zeros((len(items), size, *(items[0].shape[1:] if items else ())), items[0].dtype if items else np.float32)
    for row, item, length in zip(padded, items, lengths, strict=True):
        row[:length] = item[:length]
    return padded, lengths


def _load_pyfunc(path: str) -> EncoderModel:
    """The entry that MLflow calls."""
    return EncoderModel(Path(path))
