"""The parallel runner leaves what a serial `dvc repro` leaves, byte for byte: shapes of graph, states of the cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import worker
from flows.pipeline import Outcome, run
from tests.flows import toy

pytestmark = pytest.mark.slow
SHAPES = {
    "chain": {"a": ["source.txt"], "b": ["a"], "c": ["b"], "d": ["c"]},
    "fan-out": {"a": ["source.txt"], **{f"b{i}": ["a"] for i in range(6)}},
    "diamond": {"a": ["source.txt"], "left": ["a"], "right": ["a"], "join": ["left", "right"]},
    "shared parent": {"p": ["source.txt"], "q": ["source.txt"], "x": ["p", "q"], "y": ["p", "x"], "z": ["p"]},
    "folder dep": {"items/a": ["source.txt"], "items/b": ["source.txt"], "all": ["items"], "other": ["items/a", "all"]},
}


def pipeline(shape: dict[str, list[str]]) -> str:
    """A dvc.yaml whose stages write their inputs, joined, and a second output, as a stage and its record."""
    stages: dict[str, Any] = {}
    for name, deps in shape.items():
        given = [dep if dep == "source.txt" else f"data/{dep}" for dep in deps]
        main, second = f"data/{name}", f"data/records/{name}"
        first = f"python make.py {main} {' '.join(given)}"
        stages[name.replace("/", "-")] = {
            "cmd": [first, f"python make.py {second} {main}"],
            "deps": ["make.py", *given],
            "outs": [main, second],
        }
    return yaml.safe_dump({"stages": stages}, sort_keys=False)


@pytest.fixture(params=SHAPES)
def pair(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """(ours, theirs): two projects of one shape; theirs has been reproduced by DVC, serially."""
    monkeypatch.setattr(worker, "PRELOAD", ["stages.common.stage"])
    text = pipeline(SHAPES[request.param])
    ours, theirs = (toy.create(tmp_path / name, text) for name in ("ours", "theirs"))
    toy.dvc(theirs, "repro", "-q")
    return ours, theirs


def _run(root: Path) -> Outcome:
    return run(root=root, prefect=False, workers=4, say=lambda line: None)


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted((root / "data").rglob("*")) if p.is_file()}


def assert_same(ours: Path, theirs: Path) -> None:
    assert _files(ours) == _files(theirs)
    assert yaml.safe_load((ours / "dvc.lock").read_text()) == yaml.safe_load((theirs / "dvc.lock").read_text())
    assert "up to date" in toy.dvc(ours, "status")


def _forget(root: Path) -> None:
    shutil.rmtree(root / "data")
    (root / "dvc.lock").unlink()


def test_cold_warm_and_half_done_runs_end_as_dvc_repro_does(pair: tuple[Path, Path]) -> None:
    ours, theirs = pair
    cold = _run(ours)
    assert cold.ok and not cold.cached
    assert_same(ours, theirs)

    _forget(ours)  # the run cache is all that is left
    warm = _run(ours)
    assert not warm.ran and warm.cached == cold.ran
    assert_same(ours, theirs)

    for root in pair:  # an input changed; half of the new state is there
        (root / "source.txt").write_text("changed\n")
    first = cold.ran[0]
    toy.dvc(ours, "repro", "-q", first)
    half = _run(ours)
    assert half.cached == [first] and half.ran == cold.ran[1:]
    toy.dvc(theirs, "repro", "-q")
    assert_same(ours, theirs)

    for root in pair:  # and back: an earlier state, from the cache
        (root / "source.txt").write_text("base\n")
    assert not _run(ours).ran
    toy.dvc(theirs, "repro", "-q")
    assert_same(ours, theirs)
    assert "didn't change" in toy.dvc(ours, "repro")
