"""Clocks that jump, and files dated anywhere: the same bytes, what changed is seen, and no duration is negative."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import pytest
import yaml

from flows.pipeline import run as run_all
from stages.common import atomic
from stages.common.workspace import Workspace
from tests.faults.pipeline import NODES, clear, completes, content, run, target
from tests.flows import toy

HOUR = 3600.0
PAST, FUTURE = 315532800, 4102444800  # 1980 and 2100


def jump() -> None:
    """Every other look at the clock of this process is two hours earlier than it was, from an hour ahead to one behind."""
    real, looks = time.time, itertools.count()
    time.time = lambda: real() + (HOUR if next(looks) % 2 else -HOUR)


@pytest.mark.slow
def test_a_stage_whose_clock_jumps_makes_the_same_bytes(made: Path, stage: str, undisturbed: dict[str, bytes]) -> None:
    clear(made, stage)
    assert run(made, stage, first=jump).code == 0
    if stage != "report":  # which shows clocks
        assert content(target(made, stage)) == undisturbed
        record = atomic.read_json(Workspace(made).record(stage, NODES[stage]) / "record.json")
        assert all(seconds >= 0 for seconds in record["timings"].values())
    assert run(made, stage).code == 0


@pytest.mark.slow
def test_a_stage_over_inputs_of_any_date_makes_the_same_bytes(made: Path, stage: str, undisturbed: dict[str, bytes]) -> None:
    for date in (PAST, FUTURE):
        for path in (made / "data").rglob("*"):
            os.utime(path, (date, date))
        completes(made, stage, undisturbed, f"files of {time.gmtime(date).tm_year}")


def test_a_run_whose_clock_jumps_between_any_two_looks_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, project = toy.create(tmp_path / "whole"), toy.create(tmp_path / "p")
    assert run_all(root=whole, prefect=False, say=lambda line: None).ok
    with monkeypatch.context() as patched:
        real, looks = time.time, itertools.count()
        patched.setattr(time, "time", lambda: real() + (HOUR if next(looks) % 2 else -HOUR))
        outcome = run_all(root=project, prefect=False, say=lambda line: None)
    assert outcome.ok and len(outcome.ran) == 4 and next(looks) > 4
    assert all(step.seconds >= 0 for step in outcome.steps)
    (made, lock), (expected, locked) = (_apart(toy.outputs(root)) for root in (project, whole))
    assert made == expected and yaml.safe_load(lock) == yaml.safe_load(locked)  # entries lie in the order in which stages ended


def _apart(files: dict[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    return {name: data for name, data in files.items() if name != "dvc.lock"}, files["dvc.lock"]


@pytest.mark.parametrize("date", [PAST, FUTURE])
def test_an_input_that_changed_is_seen_whatever_its_date(tmp_path: Path, date: int) -> None:
    """Of the same size, and dated as the one before it: as after a clock was set back."""
    project = toy.create(tmp_path / "p")
    source = project / "source.txt"
    os.utime(source, (date, date))
    assert run_all(root=project, prefect=False, say=lambda line: None).ok
    toy.ran(project)
    atomic.write_text(source, "case\n")
    os.utime(source, (date, date))
    assert run_all(root=project, prefect=False, say=lambda line: None).ok
    assert sorted(toy.ran(project)) == ["a", "b", "counted", "joined"]
    assert (project / "data/counted/all.txt").read_text() == "case\n" * 2
