"""A stage killed with SIGKILL, at any point of its life: nothing partial is seen, and the next run ends in the same bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.pipeline import Ended, clear, completes, content, run, target

pytestmark = pytest.mark.slow
KILLED, POINTS = -9, 30
# Before these operations the process is killed.
NAMED = {
    "before anything is written": r"open .*\.tmp-PID",
    "after the work, before the manifest": r"open .*/\.manifest\.json\.tmp",
    "after the manifest's temporary write, before its rename": r"os\.rename .*manifest\.json",
    "before the output takes its place": r"os\.rename \S+\.tmp-PID \S+$",
    "between the output and its record": r"os\.mkdir data/records/\w+/\.",
    "before the record takes its place": r"os\.rename data/records/\S+\.tmp-PID data/records/\S+$",
}


def last(ended: Ended) -> str:
    return ended.operations[-1] if ended.operations else "nothing yet"


@pytest.mark.parametrize("point", NAMED)
def test_a_stage_killed_at_a_named_point(made: Path, undisturbed: dict[str, bytes], stage: str, point: str) -> None:
    if stage == "report" and "record" in point:
        pytest.skip("the report has no record")
    clear(made, stage)
    ended = run(made, stage, named=NAMED[point])
    assert ended.code == KILLED, f"no such operation among {ended.operations}"
    completes(made, stage, undisturbed, last(ended))


@pytest.mark.soak
def test_a_stage_killed_at_thirty_random_points(made: Path, undisturbed: dict[str, bytes], stage: str) -> None:
    draw = random.Random(f"kill {stage}")
    clear(made, stage)
    whole = run(made, stage)
    for number in range(POINTS):
        clear(made, stage)
        if number % 2:  # at an operation
            ended = run(made, stage, operation=draw.randint(1, len(whole.operations)))
            assert ended.code == KILLED
        else:  # at a moment: between operations, too, and while libraries write
            ended = run(made, stage, after_s=draw.uniform(0.01, whole.seconds))
            assert ended.code in (KILLED, 0)
        completes(made, stage, undisturbed, last(ended))


def test_an_earlier_output_stays_whole_until_the_new_one_takes_its_place(
    made: Path, undisturbed: dict[str, bytes], stage: str
) -> None:
    for point in ("after the work, before the manifest", "before the output takes its place"):
        ended = run(made, stage, named=NAMED[point])
        if ended.code != KILLED:  # the exchange of two folders is no operation that Python sees
            assert point == "before the output takes its place"
            continue
        assert content(target(made, stage)) == undisturbed
        completes(made, stage, undisturbed, last(ended))
