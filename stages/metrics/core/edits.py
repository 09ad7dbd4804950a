"""Error rates of many samples of texts at once, from the edits of each text."""

from __future__ import annotations

from typing import Any

import numpy as np


def rate_of_weights(found: Any, weights: np.ndarray) -> np.ndarray:
    """Edits over symbols of each sample (R,): found, what jiwer says of N texts; weights (R, N).

    Not a number without symbols.
    """
    symbols = np.array([len(text) for text in found.references])
    edits = [sum(_length(c) for c in text if c.type != "equal") for text in found.alignments]
    total = weights @ symbols
    return np.where(total > 0, weights @ np.array(edits) / np.where(total > 0, total, 1), np.nan)


def _length(chunk: Any) -> int:
    """Symbols of an alignment's chunk: those replaced, left out or put in."""
    length: int = max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return length
