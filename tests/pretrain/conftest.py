"""Plans and stand-in parts for pretraining tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common.plan import Plan
from stages.common.schema import build
from stages.common.stage import execute
from stages.common.workspace import Workspace
from stages.encoders.backbones.resnet import ResNet
from stages.pretrain.__main__ import inputs, target, work
from tests.builders import image_corpus

torch.set_num_threads(1)


def node(**changes: Any) -> dict[str, Any]:
    """A small encoder node on the corpus `squares`; a change replaces a key as a whole."""
    return {
        "corpus": "squares",
        "parent": "corpora/squares",
        "frontend": {"name": "image"},
        "backbone": {"name": "resnet", "width": 4, "blocks": [1, 1]},
        "views": {"name": "crop_colour", "flip": 0.0, "jitter": 0.4, "blur": 0.0},
        "objective": {"name": "simclr", "out": 8},
        "optim": {"lr": 0.01},
        "batch_size": 16,
        "epochs": 3,
        "snapshot_every": 4,
        "monitor": {"label": "digit", "rows": 32},
        "seeds": [0],
    } | changes


Pretrain = Callable[..., Path]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    image_corpus(tmp_path / "data" / "corpora" / "squares", n=100)
    return Workspace(tmp_path)


@pytest.fixture
def pretrain(workspace: Workspace) -> Pretrain:
    """pretrain(**changes of the node) -> the encoder's folder. `others`: further encoder nodes; `jobs`: seeds at once;
    `decode_threads` of a stream.
    """

    def run(
        key: str = "e",
        others: dict[str, Any] | None = None,
        jobs: int = 1,
        decode_threads: int | None = None,
        **changes: Any,
    ) -> Path:
        compute = {"jobs": jobs, "device": "cpu", "decode_threads": decode_threads}
        plan = {"encoders": {key: node(**changes), **(others or {})}, "compute": compute}
        return execute("pretrain", key, build(Plan, plan, "plan"), workspace, work, inputs, target)

    return run


def draw_in_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the network use torch's generator, in training and evaluation, as drop-out and masks do."""
    plain = ResNet.forward

    def noisy(self: ResNet, x: torch.Tensor) -> torch.Tensor:
        h = plain(self, x)
        return h + 0.1 * torch.randn_like(h)

    monkeypatch.setattr(ResNet, "forward", noisy)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
