"""A training that was killed ends in the bytes of an unbroken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.common import live
from stages.common.workspace import Workspace
from stages.pretrain.core.trainer import Trainer
from tests.builders import image_corpus
from tests.killing import run_killed
from tests.pretrain.conftest import Pretrain, bytes_of, draw_in_forward, node

ROOT = Path(__file__).resolve().parents[2]


class Power(BaseException):
    """Stands for a cut of power."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Trainer.step

    def until(self: Trainer) -> None:
        if self.done == step:
            raise Power
        plain(self)

    monkeypatch.setattr(Trainer, "step", until)


@pytest.mark.parametrize("step", [1, 4, 6, 9, 11])  # before the first snapshot, at one, after one, at an epoch's end, late
@pytest.mark.parametrize(
    "change",
    [
        {"optim": {"lr": 0.01}},
        {
            "objective": {"name": "lejepa", "hidden": 8, "out": 4, "slices": 8},
            "optim": {"name": "lars", "lr": 0.5},
            "channels_last": True,
        },
        {"objective": {"name": "moco", "hidden": 8, "out": 4, "queue": 40}},
    ],
)
def test_a_cut_run_goes_on_to_the_same_bytes(
    pretrain: Pretrain, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, step: int, change: dict[str, Any]
) -> None:
    draw_in_forward(monkeypatch)
    whole = bytes_of(pretrain(epochs=4, **change))
    with monkeypatch.context() as power:
        cut_at(step, power)
        with pytest.raises(Power):
            pretrain(epochs=4, **change)
    assert bytes_of(workspace.encoder("e")) == whole  # the earlier result stays until the new one is whole
    (workspace.encoder("e") / "manifest.json").unlink()
    assert bytes_of(pretrain(epochs=4, **change)) == whole
    record = json.loads((workspace.record("pretrain", "e") / "record.json").read_text())
    assert record["details"]["resumed_at_step"] == ({"0": step // 4 * 4} if step >= 4 else {})
    assert not list((workspace.state / "resume" / "pretrain").iterdir())


def test_each_step_appears_once_in_the_live_events_after_a_resume(
    pretrain: Pretrain, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as power:
        cut_at(7, power)
        with pytest.raises(Power):
            pretrain(epochs=4, snapshot_every=5)
    pretrain(epochs=4, snapshot_every=5)
    steps = [e["step"] for e in live.read(workspace.live("pretrain", "e") / "seed=0.jsonl")]
    assert steps == sorted(set(steps)) and steps[-1] == 12


def test_state_of_another_plan_is_not_taken_up(
    pretrain: Pretrain, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = bytes_of(pretrain(optim={"lr": 0.02}))
    with monkeypatch.context() as power:
        cut_at(6, power)
        with pytest.raises(Power):
            pretrain(optim={"lr": 0.01})
    assert bytes_of(pretrain(optim={"lr": 0.02})) == fresh


@pytest.mark.slow
def test_a_process_killed_in_mid_epoch_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """kill -9 on the stage's process; its seeds' processes die with it."""
    outputs = []
    for name in ("whole", "killed"):
        root = tmp_path / name
        image_corpus(root / "data" / "corpora" / "squares", n=300)
        plan = {"encoders": {"e": node(epochs=8, batch_size=32, snapshot_every=3, seeds=[0, 1])}, "compute": {"jobs": 2}}
        (root / "plan.json").write_text(json.dumps(plan))
        if name == "killed":
            run_killed(
                _command(), r"seed=1/step=0*9$", tmp_path / "hooks", root, _environment()
            )  # at 6 of 40 steps, 5 an epoch
            assert not (root / "data" / "encoders" / "e").exists()
        subprocess.run(_command(), cwd=root, env=_environment(), check=True, capture_output=True, timeout=120)
        outputs.append(bytes_of(root / "data" / "encoders" / "e"))
    assert outputs[0] == outputs[1] and len(outputs[0]) == 9
    record = json.loads((tmp_path / "killed/data/records/pretrain/e/record.json").read_text())
    assert record["details"]["resumed_at_step"]


def _command() -> list[str]:
    return [sys.executable, "-m", "stages.pretrain", "e", "--plan", "plan.json"]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
