"""A tiny encoder of uint8 images, its parts registered for as long as a test needs them."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.common import registry
from stages.common.corpus import Column
from stages.common.schema import Part
from stages.encoders.core import encoder

IMAGE = Column("image", "media", "pixels", shape=[4, 4, 1])
WAVE = Column("wave", "media", "waveform", rate=8000)


class Pixels(encoder.Frontend):
    """uint8 (B, H, W, C) -> (B, C, H, W) in [0, 1]."""

    def __init__(self, column: Column, assets: Path) -> None:
        height, width, channels = column.shape or [4, 4, 1]
        self.contract = {"kind": "image", "height": height, "width": width, "channels": channels}
        self.shape = (channels, height, width)

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        return data.permute(0, 3, 1, 2).float() / 255


class Energy(encoder.Frontend):
    """Waveforms (B, T) -> (B, 2, 1): mean square over the true length, and the length."""

    def __init__(self, column: Column, assets: Path) -> None:
        self.contract = {"kind": "waveform", "rate": column.rate, "samples": 8}
        self.shape = (2, 1)

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Tensor:
        n = torch.full((len(data),), data.shape[1]) if lengths is None else lengths
        energy = data.float().square().sum(1) / n
        return torch.stack([energy, n.float()], 1).unsqueeze(2)


class Linear(encoder.Backbone):
    def __init__(self, frontend: encoder.Frontend, *, width: int = 3) -> None:
        super().__init__()
        self.width = width
        self.map = nn.Linear(int(torch.tensor(frontend.shape).prod()), width)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.flatten(1))


def register(patch: pytest.MonkeyPatch) -> None:
    parts: dict[tuple[str, str], Any] = {
        ("frontend", "tiny_pixels"): Pixels,
        ("frontend", "tiny_energy"): Energy,
        ("backbone", "tiny_linear"): Linear,
    }
    for (kind, name), thing in parts.items():
        module = types.ModuleType(f"{registry.PACKAGES[kind]}.{name}")
        setattr(thing, "__prelude_part__", module.__name__)  # noqa: B010
        module.part = thing  # type: ignore[attr-defined]
        patch.setitem(sys.modules, module.__name__, module)
    real = registry.names
    patch.setattr(registry, "names", lambda kind: real(kind) + [n for k, n in parts if k == kind])


def write(folder: Path, seed: int = 0, column: Column = IMAGE) -> Path:
    """A saved encoder of one seed; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    front = Part("tiny_pixels" if column.kind == "pixels" else "tiny_energy")
    torch.manual_seed(seed)
    net = encoder.new(front, Part("tiny_linear", {"width": 3}), column, folder)
    net.mean.fill_(0.1)
    card = encoder.EncoderCard(
        front, Part("tiny_linear", {"width": 3}), column, "digits", "d" * 64, "s" * 64, "simclr", seed, 10, net.width
    )
    encoder.save(folder, net, card)
    return folder
