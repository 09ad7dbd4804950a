from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows import progress
from stages.common.live import Live
from stages.common.workspace import Workspace


def test_seeds_count_together_and_the_newest_values_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    assert progress.read(workspace, "pretrain", "e") is None
    clock = iter([100.0, 110.0, 100.0, 120.0])
    monkeypatch.setattr("stages.common.live.time.time", lambda: next(clock))
    for seed, steps in ((0, (0, 40)), (1, (0, 20))):
        live = Live(workspace.live("pretrain", "e"), seed, "digest", 100)
        for step in steps:
            live.event(step, {"loss": 2.0 - step / 100})
        live.close()
    monkeypatch.setattr("flows.progress.time.time", lambda: 130.0)
    now = progress.read(workspace, "pretrain", "e")
    assert now is not None
    assert (now.step, now.steps, now.values) == (60, 200, {"loss": 1.8})
    assert now.left_s == pytest.approx(30.0 / 60 * 140)
    assert now.text() == "step 60/200, loss 1.8, 70 s left"
    more = progress.read(workspace, "pretrain", "e", seeds=3)
    assert more is not None and more.steps == 300


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    folder = workspace.live("pretrain", "e")
    folder.mkdir(parents=True)
    event = {"at": 1.0, "step": 3, "steps": 9, "seed": 0, "digest": "d", "values": {"loss": 1.0}}
    (folder / "seed=0.jsonl").write_text(json.dumps(event) + "\n" + json.dumps(event)[:20])
    now = progress.read(workspace, "pretrain", "e")
    assert now is not None and now.step == 3
    (folder / "seed=0.jsonl").write_text("")
    assert progress.read(workspace, "pretrain", "e") is None
