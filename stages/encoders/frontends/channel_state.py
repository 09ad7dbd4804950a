"""Channel state of OFDM radio: real part, imaginary part and magnitude of each antenna's transfer function."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Frontend

_TINY = 1e-12


@part
class ChannelState(Frontend):
    """float32 (B, K, 2 A), I and Q of A antennas at K subcarriers -> (B, 3 A, K): all real parts, all imaginary ones, all |H|.

    The three parts are the input of Salihu, Schwarz and Rupp 2023, "Self-supervised and invariant representations for wireless
    localization". peak: what H is divided by; the paper takes the data set's largest value, null each item's own largest |H|,
    which suits receivers with a gain control. phase `level`: the mean slope along the subcarriers and then the mean phase,
    alike for all antennas, are taken out, H_k exp(-i (a + b n_k)) with b = arg sum H_{k+1} conj(H_k) over neighbours and
    a = arg sum H_k exp(-i b n_k): a receiver that is not synchronised turns every packet by some a and b. bands: runs
    (first, last) of the numbers n_k, so that gaps between subcarriers are known; default 0 .. K - 1.

    Raises ContractError for a column of another kind, UserError for series of varying length or bands of another length.
    """

    def __init__(
        self,
        column: Column,
        assets: Path,
        *,
        phase: Literal["stored", "level"] = "stored",
        peak: float | None = None,
        bands: list[tuple[int, int]] | None = None,
    ) -> None:
        shape = column.shape or [-1, 1]
        if column.kind != "series" or shape[-1] % 2:
            held = column.kind if column.kind != "series" else f"series of {shape[-1]} channels"
            raise ContractError(
                f"column {column.name!r} holds {held}, the front end `channel_state` takes series of I and Q",
                do="choose another `media:` column or the front end of its kind",
            )
        if shape[0] < 1:
            raise UserError(f"column {column.name!r} has series of varying length", where="front end channel_state")
        if peak is not None and peak <= 0:
            raise UserError(f"the peak must be above 0, got {peak:g}", where="front end channel_state")
        numbers = [n for first, last in bands or [(0, shape[0] - 1)] for n in range(first, last + 1)]
        if len(numbers) != shape[0]:
            raise UserError(
                f"the bands hold {len(numbers)} subcarriers, column {column.name!r} {shape[0]}",
                where="front end channel_state.bands",
                do="write those of the reader",
            )
        self.phase, self.peak, self.numbers = phase, peak, torch.tensor(numbers)
        self.contract: dict[str, Any] = {"kind": "series", "steps": shape[0], "channels": shape[-1]}
        self.shape: tuple[int, ...] = (3 * shape[-1] // 2, shape[0])

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        parts = data.float().unflatten(2, (-1, 2)).permute(0, 2, 1, 3).contiguous()
        h = torch.view_as_complex(parts)  # (B, A, K)
        if self.phase == "level":
            h = level(h, self.numbers.to(h.device))
        if self.peak is not None:
            h = h / self.peak
        else:
            h = h / h.abs().amax(dim=(1, 2), keepdim=True).clamp_min(_TINY)
        return torch.cat([h.real, h.imag, h.abs()], 1)


def level(h: Tensor, numbers: Tensor) -> Tensor:
    """h (B, A, K) complex at the subcarriers `numbers` (K,) -> the same without its mean slope and mean phase, item by item."""
    beside = torch.diff(numbers) == 1
    turn = (h[..., 1:] * h[..., :-1].conj() * beside).sum(dim=(1, 2), keepdim=True).angle()
    h = h * torch.polar(torch.ones_like(turn), -turn * numbers)
    return h * torch.polar(torch.ones_like(turn), -h.sum(dim=(1, 2), keepdim=True).angle())
