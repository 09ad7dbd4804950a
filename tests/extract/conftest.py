"""An encoder of several seeds and a corpus in a workspace, and the stage run in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import atomic, plan, stage
from stages.common.corpus import Corpus
from stages.common.schema import Part, build
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import EncoderCard
from stages.extract.__main__ import inputs, target, work

IMAGE, SMALL = Part("image"), Part("resnet", {"width": 2, "blocks": [1, 1]})
Extract = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def write_encoder(
    folder: Path, corpus: Path, frontend: Part = IMAGE, backbone: Part = SMALL, seeds: Sequence[int] = (0,)
) -> Path:
    """A sealed encoder of random weights whose statistics are no identity."""
    column = Corpus(corpus).card.media()
    for seed in seeds:
        torch.manual_seed(seed)
        encoder = encoders.new(frontend, backbone, column, corpus)
        encoder.mean.normal_(0, 0.1)
        encoder.std.uniform_(0.5, 1)
        card = EncoderCard(frontend, backbone, column, "c", "d", "s", "none", seed, 0, encoder.width)
        (folder / f"seed={seed}").mkdir(parents=True)
        encoders.save(folder / f"seed={seed}", encoder, card)
    atomic.seal(folder)
    return folder


def whole_plan(compute: dict[str, Any] | None = None, **node: Any) -> plan.Plan:
    features = {"f": {"encoder": "e", "corpus": "c", "batch_size": 16, **node}}
    return build(plan.Plan, {"features": features, "compute": compute or {"device": "cpu", "jobs": 1}}, "plan")


@pytest.fixture
def extract(workspace: Workspace) -> Extract:
    """extract(**node): runs features node `f` of encoder `e` on corpus `c`; returns its folder."""

    def run(compute: dict[str, Any] | None = None, **node: Any) -> Path:
        return stage.execute("extract", "f", whole_plan(compute, **node), workspace, work, inputs, target)

    return run
