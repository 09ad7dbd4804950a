"""Sequences of events at irregular times: their codes, values, and how long each waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.events import KNOWN
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, Padded


@part
class Events(Frontend):
    """float32 (B, T, 3) -> x (B, 4, T) float32 with the items' lengths; 0 follows an item's own events.

    Rows of x: log(1 + d / unit), d the seconds since the event before (0 for the first of x, whatever came before it in the
    sequence); the code's place, 0 padding, 1 unknown; sign(v) log(1 + |v|) of the value v, 0 where there is none; 1 where there
    is one. The logarithms stand for the scaling of each field that the papers learn. The vocabulary is the column's `classes`
    (`codes:` of the corpus). length: T, events of an item; keep: `last` or `first`, which of a longer one; unit: seconds.

    Raises ContractError for a column of another kind, UserError where its codes are not known.
    """

    def __init__(
        self, column: Column, assets: Path, *, length: int = 64, keep: Literal["last", "first"] = "last", unit: float = 1.0
    ) -> None:
        if column.kind != "events":
            raise ContractError(
                f"column {column.name!r} holds {column.kind}, the front end `events` takes events",
                do="choose another `media:` column or the front end of its kind",
            )
        if length < 1 or unit <= 0:
            raise UserError(f"length {length} must be 1 or more, unit {unit:g} above 0", where="front end events")
        if not column.classes:
            raise UserError(
                f"the codes of column {column.name!r} are not known", where="front end events", do="add `codes:` to the corpus"
            )
        self.unit, self.vocabulary = unit, KNOWN + len(column.classes)
        self.shape: tuple[int, ...] = (4, length)
        self.contract: dict[str, Any] = {"kind": "events", "length": length, "codes": column.classes, "keep": keep}

    @property
    def channels(self) -> int:
        return 0

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        since, code, value = data.unbind(-1)
        own = (code > 0).to(data.dtype)
        since = torch.log1p(since / self.unit)
        since = torch.cat([torch.zeros_like(since[:, :1]), since[:, 1:]], 1)
        has = own * (~value.isnan()).to(data.dtype)
        value = value.nan_to_num(0.0)
        x = torch.stack([since, code, value.sign() * value.abs().log1p(), has], 1)
        return x if lengths is None else Padded(x, lengths)
