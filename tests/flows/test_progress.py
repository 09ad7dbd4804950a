from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flows import progress
from stages.common.live import Live
from stages.common.progress import Progress
from stages.common.workspace import Workspace


def write(
    workspace: Workspace, seed: int, *events: tuple[float, int, dict[str, float]], steps: int = 100, digest: str = "d"
) -> Path:
    """Live events (clock, step, values) of a seed of pretrain@e."""
    folder = workspace.live("pretrain", "e")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"seed={seed}.jsonl"
    about = {"steps": steps, "seed": seed, "digest": digest}
    rows = [json.dumps({"at": at, "step": step, "values": values} | about) for at, step, values in events]
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def at(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    monkeypatch.setattr("flows.progress.time.time", lambda: now)


def read(workspace: Workspace, **more: Any) -> progress.Progress:
    found = progress.read(workspace, "pretrain", "e", **more)
    assert found is not None
    return found


def test_seeds_count_together_and_the_newest_values_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    assert progress.read(workspace, "pretrain", "e") is None
    clock = iter([100.0, 110.0, 100.0, 120.0])
    monkeypatch.setattr("stages.common.live.time.time", lambda: next(clock))
    for seed, steps in ((0, (0, 40)), (1, (0, 20))):
        live = Live(workspace.live("pretrain", "e"), seed, "digest", 100)
        for step in steps:
            live.event(step, {"total": 2.0 - step / 100} | ({"knn_accuracy": 0.5} if step == 0 else {}))
        live.close()
    at(monkeypatch, 130.0)
    now = read(workspace)
    assert (now.step, now.steps, now.values) == (60, 200, {"total": 1.8, "knn_accuracy": 0.5})
    assert now.left_s == pytest.approx(80 / (20 / 20) - 10)  # of the slower seed: 80 steps at 1 a second, 10 s ago
    assert now.text() == "step 60/200, loss 1.8, 70 s left"
    assert read(workspace, seeds=3).steps == 300


def test_a_seed_to_come_takes_the_place_of_the_first_that_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    for seed in (0, 1):
        write(workspace, seed, (100.0, 0, {}), (110.0, 50, {}))
    at(monkeypatch, 110.0)
    assert read(workspace, seeds=2).left_s == pytest.approx(10)
    assert read(workspace, seeds=3).left_s == pytest.approx(10 + 20)
    assert read(workspace, seeds=4).left_s == pytest.approx(10 + 20)
    assert read(workspace, seeds=5).left_s == pytest.approx(10 + 20 + 20)


def test_one_event_alone_gives_no_time_and_the_last_step_none_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    write(workspace, 0, (100.0, 9, {"total": 1.0}))
    assert read(workspace).left_s is None and read(workspace).text() == "step 9/100, loss 1"
    write(workspace, 0, (100.0, 100, {"total": 1.0}))
    assert read(workspace).left_s == 0


def test_what_an_earlier_run_left_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    old = write(workspace, 1, (10.0, 0, {}), (20.0, 100, {"knn_accuracy": 0.9}))
    other = write(workspace, 2, (10.0, 100, {}), digest="another plan's")
    write(workspace, 0, (100.0, 0, {}), (110.0, 50, {}))
    at(monkeypatch, 110.0)
    os.utime(old, (90.0, 90.0))
    now = read(workspace, seeds=3, since=99.0)
    assert (now.step, now.steps, now.values) == (50, 300, {})
    assert other.exists() and now.left_s == pytest.approx(10 + 20 + 20)
    os.utime(old, (100.0, 100.0))  # a seed that was done before and is taken up again
    assert read(workspace, seeds=3, since=99.0).step == 150


def test_a_resumed_seed_goes_on_at_its_rate_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    write(workspace, 0, (0.0, 0, {}), (1000.0, 40, {}), (5000.0, 42, {}), (5010.0, 52, {}))
    at(monkeypatch, 5010.0)
    assert read(workspace, since=4990.0).left_s == pytest.approx(48)
    assert read(workspace).left_s == pytest.approx(5010 / 52 * 48)


def test_a_long_file_is_read_from_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    # slow at first, then ten times as fast: only the end of the file tells
    events = [(float(i), i, {"total": 1.0}) for i in range(1000)] + [(1000 + i / 10, 1000 + i, {}) for i in range(1000)]
    path = write(workspace, 0, *events, steps=3000)
    at(monkeypatch, events[-1][0])
    assert path.stat().st_size > 2 * progress._TAIL
    assert read(workspace).left_s == pytest.approx(1001 / 10)


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    path = write(workspace, 0, (1.0, 3, {"total": 1.0}))
    path.write_text(path.read_text() + path.read_text()[:20])
    assert read(workspace).step == 3
    path.write_text("")
    assert progress.read(workspace, "pretrain", "e") is None


def test_progress_lines_of_a_stage_are_told_from_others() -> None:
    printed = progress.Printed(seeds=2)
    assert printed.after(10.0) is None
    assert not printed.hear("warning: extract seed 0: 3/4 of the items are blank")
    line = Progress("extract seed 0", 400, "items").line(0, 100.0, {})
    assert "..." in line and printed.hear(line)
    shown = Progress("extract seed 0", 400, "items")
    shown.first, shown.started = 0, 100.0
    assert printed.hear(shown.line(100, 110.0, {"loss": 1.0}))
    now = printed.after(10.0)
    assert now is not None and (now.step, now.steps, printed.unit) == (100, 800, "items")
    assert now.left_s == pytest.approx(70)
