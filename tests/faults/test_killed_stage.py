"""A stage killed with SIGKILL, at any point of its life: nothing partial is seen, and the next run ends in the same bytes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from stages.common import atomic
from stages.common.workspace import Workspace
from tests.faults.pipeline import NODES, Ended, content, run, strays, target

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


@pytest.fixture(params=NODES)
def stage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def undisturbed(made: Path, stage: str) -> dict[str, bytes]:
    """What the stage makes. The report shows clocks of the records, which other tests have made anew."""
    if stage == "report":
        assert run(made, stage).code == 0
    return content(target(made, stage))


def clear(root: Path, stage: str) -> None:
    """Takes away what the stage made, as DVC does before it runs one."""
    shutil.rmtree(target(root, stage), ignore_errors=True)
    if stage != "report":
        shutil.rmtree(Workspace(root).record(stage, NODES[stage]), ignore_errors=True)


def check(root: Path, stage: str, ended: Ended, whole: dict[str, bytes]) -> None:
    """Whatever is seen after the kill is whole; a second run ends in the undisturbed bytes and leaves nothing behind."""
    last = ended.operations[-1] if ended.operations else "nothing yet"
    for folder in (target(root, stage), Workspace(root).record(stage, NODES[stage])):
        assert not folder.exists() or atomic.damaged(folder) == [], f"{folder} is partial after: {last}"
    assert run(root, stage).code == 0, f"after: {last}\n{(root / 'said').read_text()}"
    assert content(target(root, stage)) == whole, f"other bytes after: {last}"
    assert strays(root) == [], f"left behind after: {last}"
    assert not list((root / ".prelude" / "resume").glob(f"{stage}/*")), f"state left after: {last}"


@pytest.mark.parametrize("point", NAMED)
def test_a_stage_killed_at_a_named_point(made: Path, undisturbed: dict[str, bytes], stage: str, point: str) -> None:
    if stage == "report" and "record" in point:
        pytest.skip("the report has no record")
    clear(made, stage)
    ended = run(made, stage, named=NAMED[point])
    assert ended.code == KILLED, f"no such operation among {ended.operations}"
    check(made, stage, ended, undisturbed)


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
        check(made, stage, ended, undisturbed)


def test_an_earlier_output_stays_whole_until_the_new_one_takes_its_place(
    made: Path, undisturbed: dict[str, bytes], stage: str
) -> None:
    for point in ("after the work, before the manifest", "before the output takes its place"):
        ended = run(made, stage, named=NAMED[point])
        if ended.code != KILLED:  # the exchange of two folders is no operation that Python sees
            assert point == "before the output takes its place"
            continue
        assert content(target(made, stage)) == undisturbed
        check(made, stage, ended, undisturbed)
