"""Raw waveforms, for encoders that learn their own filters."""

from __future__ import annotations

from torch import Tensor

from stages.common.corpus import Column
from stages.common.registry import part
from stages.encoders.core.wave import contract, samples_in_unit_range


@part
class Waveform:
    """int16 or float32 (B, T) -> float32 (B, 1, T) in [-1, 1]. Shorter clips come zero-padded, longer ones cut.

    rate: in Hz; default and only choice: the column's. samples: T, the clip's length; default one second.
    Raises ContractError for a column that holds no waveform or has another rate.
    """

    def __init__(self, column: Column, *, rate: int | None = None, samples: int | None = None) -> None:
        self.contract = contract("waveform", column, rate, samples)
        self.shape: tuple[int, ...] = (1, self.contract["samples"])

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        return samples_in_unit_range(data)[:, None]
