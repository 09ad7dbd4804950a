"""What ways return so that the harness can see whether they did the same."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def digest(array: Any) -> str:
    """Of an array's shape and values, NaN for NaN."""
    values = np.ascontiguousarray(array)
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values)  # of one pattern of bits
    return hashlib.sha256(repr((values.shape, values.dtype.str)).encode() + values.tobytes()).hexdigest()


def trainable(*modules: Any) -> int:
    """The weights that an optimiser moves."""
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)
