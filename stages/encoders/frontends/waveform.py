"""Raw waveforms, for encoders that learn their own filters."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from stages.common.corpus import Column
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input, Padded
from stages.encoders.core.wave import contract, level, samples_in_unit_range


@part
class Waveform(Frontend):
    """int16 or float32 (B, T) -> float32 (B, 1, T) in [-1, 1], with the clips' lengths; zeros follow, long clips are cut.

    rate: in Hz; default and only choice: the column's. samples: T, the clip's length; default one second.
    normalise: each clip has mean 0 and variance 1 over its own samples (wav2vec 2.0, Baevski et al. 2020, sec. 2), so that a
    recording's level does not matter; silence stays 0.
    Raises ContractError for a column that holds no waveform or has another rate.
    """

    def __init__(
        self, column: Column, assets: Path, *, rate: int | None = None, samples: int | None = None, normalise: bool = False
    ) -> None:
        self.normalise = normalise
        self.contract = contract("waveform", column, rate, samples)
        self.shape: tuple[int, ...] = (1, self.contract["samples"])

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        x = samples_in_unit_range(data)
        if self.normalise:
            x = level(x, lengths)
        return x[:, None] if lengths is None else Padded(x[:, None], lengths)
