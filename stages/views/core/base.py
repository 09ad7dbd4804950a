"""What a views part is, and the key from which its randomness comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from stages.encoders.core.inputs import Input


@dataclass(frozen=True)
class Key:
    """Names a batch's randomness: a view of a sample depends on (seed, epoch, sample) alone, never on its batch."""

    seed: int
    epoch: int
    sample: Tensor  # (B,) int64, the samples' rows in the corpus


class Views(Protocol):
    """Made as `part(frontend, **arguments)`."""

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        """data (B, ...) as decoded, lengths (B,) -> V views x_v (B, *shape_v), not yet standardised."""
