"""Backbones in the state that tests need: seeded weights, batch norms that do something, eval mode."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from stages.common import registry
from stages.common.schema import Part
from stages.encoders.core.encoder import Backbone

Make = Callable[..., Backbone]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def backbone() -> Make:
    """backbone(name, shape, **arguments): as the registry makes it, with drawn statistics and affine parameters."""

    def make(name: str, shape: tuple[int, ...], **arguments: Any) -> Backbone:
        torch.manual_seed(0)
        made: Backbone = registry.make("backbone", Part(name, arguments), SimpleNamespace(shape=shape))
        for module in made.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm)):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return made.eval()

    return make
