"""Series: several channels over time, channels first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend


@part
class Series(Frontend):
    """float32 (B, T, C) -> (B, C, T), values as stored. Shorter items come zero-padded, longer ones cut.

    steps: T. Default: the column's length, where all items have one; else it must be given (UserError).
    Raises ContractError for a column of another kind.
    """

    def __init__(self, column: Column, assets: Path, *, steps: int | None = None) -> None:
        if column.kind != "series":
            raise ContractError(
                f"column {column.name!r} holds {column.kind}, the front end `series` takes series",
                do="choose another `media:` column or the front end of its kind",
            )
        shape = column.shape or [-1, 1]
        length = steps or shape[0]
        if length < 1:
            raise UserError(f"column {column.name!r} has series of varying length", do="set `steps` of the front end")
        self.contract: dict[str, Any] = {"kind": "series", "steps": length, "channels": shape[-1]}
        self.shape: tuple[int, ...] = (shape[-1], length)

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        return data.float().transpose(1, 2).contiguous()
