"""No augmentation: one view, the front end's output."""

from __future__ import annotations

from torch import Tensor

from stages.common.registry import part
from stages.encoders.core.encoder import Frontend
from stages.encoders.core.inputs import Input
from stages.views.core.base import Key


@part
class NoViews:
    """data (B, ...) -> [x], x (B, *shape)."""

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend

    def __call__(self, data: Tensor, lengths: Tensor | None, key: Key) -> list[Input]:
        return [self.frontend(data, lengths)]
