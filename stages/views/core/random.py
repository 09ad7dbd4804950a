"""Random numbers from counters: a number depends on what it is for (seed, epoch, sample, view, draw) and on nothing else.

The generator is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", sec. 3): a stream is
a 64-bit state, its n-th number the finaliser of state + n * gamma. Integer arithmetic alone, so every device agrees to the bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from stages.views.core.base import Key


def _signed(value: int) -> int:
    """An unsigned 64-bit constant as the int64 of the same bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


_GAMMA = _signed(0x9E3779B97F4A7C15)
_MIX1 = _signed(0xBF58476D1CE4E5B9)
_MIX2 = _signed(0x94D049BB133111EB)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: int64 shifts arithmetically, so the copies of the sign are masked away."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """The finaliser: a bijection of 64-bit words in which every input bit flips each output bit half the time."""
    x = (x ^ _shifted(x, 30)) * _MIX1
    x = (x ^ _shifted(x, 27)) * _MIX2
    return x ^ _shifted(x, 31)


def stream(*words: int | Tensor) -> Tensor:
    """The state named by `words`: whole numbers or int64 tensors, which broadcast. Their order matters."""
    device = next((w.device for w in words if isinstance(w, Tensor)), None)
    state = torch.zeros((), dtype=torch.int64, device=device)
    for word in words:
        state = _mix((state ^ word) + _GAMMA)
    return state


def bits(state: Tensor, n: int) -> Tensor:
    """state (...) -> (..., n) int64 words, uniform over all 2^64."""
    return words(state.unsqueeze(-1), torch.arange(n, device=state.device))


def words(state: Tensor, place: Tensor) -> Tensor:
    """The numbers at `place` (...) of the sequence of `bits`, counted from 0: those of a few places without the others."""
    return _mix(state + (place + 1) * _GAMMA)


def uniform(state: Tensor, n: int) -> Tensor:
    """state (...) -> (..., n) float32 in [0, 1): multiples of 2^-24, all equally likely."""
    return _shifted(bits(state, n), 40).to(torch.float32) * 2.0**-24


def normal(state: Tensor, n: int) -> Tensor:
    """state (...) -> (..., n) float32 of the standard normal distribution (Box and Muller 1958)."""
    half = (n + 1) // 2
    u = uniform(state, 2 * half)
    radius = (-2 * torch.log1p(-u[..., :half])).sqrt()
    angle = 2 * math.pi * u[..., half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)[..., :n]


def of_views(key: Key, views: int) -> Tensor:
    """The streams of a batch's views, (views * B,), view by view."""
    view = torch.arange(views, device=key.sample.device).unsqueeze(1)
    return stream(key.seed, key.epoch, key.sample.unsqueeze(0), view).reshape(-1)


def permutation(seed: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """0 .. n-1 in an order, (n,) int64, that depends on (seed, epoch, n) alone."""
    return torch.argsort(bits(stream(seed, epoch).to(device), n), stable=True)
