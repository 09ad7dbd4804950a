"""What the front ends of waveforms share: the input contract and the scale of samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError
from stages.encoders.core.inputs import own


def contract(name: str, column: Column, rate: int | None, samples: int | None) -> dict[str, Any]:
    """The contract of clips of `samples` (default: one second) at the column's rate. Raises ContractError."""
    if column.kind != "waveform" or not column.rate:
        raise ContractError(
            f"column {column.name!r} holds {column.kind} ({column.rate or 'no'} Hz), the front end {name!r} takes waveform",
            do="choose another `media:` column or the front end of its kind",
        )
    if rate is not None and rate != column.rate:
        raise ContractError(
            f"column {column.name!r} has {column.rate} Hz, the front end takes {rate} Hz",
            do="resample when ingesting, or leave `rate` out",
        )
    return {"kind": "waveform", "rate": column.rate, "samples": samples or column.rate}


def samples_in_unit_range(data: Tensor) -> Tensor:
    """int16 or float samples (B, T) -> float32 in [-1, 1]."""
    return data.float() / 32768 if data.dtype == torch.int16 else data.float()


def level(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x (B, T) -> (x - mean) / sqrt(variance + 1e-7) over each clip's own samples (B,), 0 beyond them."""
    if lengths is None:
        lengths = torch.full((len(x),), x.shape[1], device=x.device)
    within = own(lengths, x.shape[1], x.shape[1])
    count = lengths.clamp_min(1).unsqueeze(1)
    centred = (x - (x * within).sum(1, keepdim=True) / count) * within
    return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
