"""`prelude sweep` on the command line: what is run, what is written, what is refused before anything is."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import compose, pipeline
from flows.sweep.command import Request
from stages.common import plan
from stages.common.workspace import Workspace
from tests.flows.conftest import Said

STRENGTH = "encoders.trained.objective.strength"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str] | None, dict[str, object]]]:
    """What the pipeline was asked for; nothing runs."""
    found: list[tuple[list[str] | None, dict[str, object]]] = []

    def run(targets: list[str] | None, **more: object) -> pipeline.Outcome:
        found.append((targets, more))
        return outcome

    outcome = pipeline.Outcome()
    monkeypatch.setattr(pipeline, "run", run)
    return found


def test_the_plan_has_the_variants_and_its_base_as_it_was(root: Path, capsys: Capture, asked: list[object]) -> None:
    compose.write(root, ["one"])
    before = compose.plan.read(root / "params.yaml")
    said = Said(capsys, "sweep", f"{STRENGTH}=0.1,0.25", "--system", "one")
    assert said.code == 0, said.err
    after = compose.plan.read(root / "params.yaml")
    assert list(after["encoders"]) == ["trained", "random", "trained__strength_0_1"]
    assert all(
        after[section][key] == node for section in ("encoders", "features", "tasks") for key, node in before[section].items()
    )
    assert plan.load(root / "params.yaml").tasks["probe__strength_0_1"].variant_of == "probe"
    head = (root / "params.yaml").read_text().splitlines()[:2]
    assert head == [plan.COMPOSED.strip(), f"# Swept over {STRENGTH}=0.1,0.25 by `prelude sweep`."]


def test_words_are_axes_systems_and_targets(root: Path, capsys: Capture, asked: list[tuple[object, dict[str, object]]]) -> None:
    words = [
        f"{STRENGTH}=0.1,0.3",
        "one",
        "fit@probe",
        "report",
        "--keep-going",
        "--workers",
        "2",
        "--no-prefect",
        "--name",
        "x",
    ]
    assert Said(capsys, "sweep", *words).code == 0
    ((targets, more),) = asked
    assert targets == ["fit@probe", "fit@probe__strength_0_1", "fit@probe__strength_0_3", "report"]
    assert (more["keep_going"], more["workers"], more["prefect"], more["name"]) == (True, 2, False, "sweep x")
    assert Request(["a.b.c=1"]).systems == ["quickstart"] and Request(["a.b.c=1"]).targets == []


def test_overrides_change_the_base_and_draws_can_be_repeated(root: Path, capsys: Capture, asked: list[object]) -> None:
    words = ["sweep", "one", f"{STRENGTH}=uniform(0,1)", "--random", "2", "--seed", "3", "-s", "encoders.trained.epochs=9"]
    assert Said(capsys, *words).code == 0
    first = (root / "params.yaml").read_text()
    assert plan.load(root / "params.yaml").encoders["trained"].epochs == 9
    assert len(plan.load(root / "params.yaml").encoders) == 4
    assert Said(capsys, *words).code == 0 and (root / "params.yaml").read_text() == first


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["encoders.trained.objective.strenth=1"], "did you mean 'strength'?"),
        ([f"{STRENGTH}=uniform(0,1)"], "--random N"),
        ([f"{STRENGTH}=0.1", "--select", "rankmee"], "did you mean 'rankme'?"),
        ([f"{STRENGTH}=0.1", "--select", "lidar"], "unknown measure of this sweep 'lidar'"),
        ([f"{STRENGTH}=0.1", "--name", "a/b"], "'a/b' is no name for a sweep"),
        (["one"], "nothing to sweep over"),
    ],
)
def test_a_mistake_is_one_error_before_anything_is_written(
    root: Path, capsys: Capture, asked: list[object], words: list[str], shown: str
) -> None:
    said = Said(capsys, "sweep", *words, "--system", "one")
    assert said.code == 2 and said.err.startswith("error: ") and shown in said.err
    assert asked == [] and not (root / "params.yaml").exists()


def test_a_dry_sweep_shows_the_variants_and_writes_nothing(root: Path, capsys: Capture, asked: list[object]) -> None:
    said = Said(capsys, "sweep", f"{STRENGTH}=0.1,0.25", "one", "--dry")
    assert said.code == 0 and asked == [] and not (root / "params.yaml").exists()
    first, second, third = said.out.splitlines()
    assert first.startswith("trained__strength_0_1: encoders.trained__strength_0_1, features.trained__strength_0_1, ")
    assert second == "trained: the base itself"
    assert third == "2 variants, 4 nodes added, 12 stages in all; nothing written"


def test_without_figures_nothing_is_chosen_and_a_failure_is_told(
    root: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = pipeline.Outcome(failed=["pretrain@trained__strength_0_1"])
    monkeypatch.setattr(pipeline, "run", lambda *_, **__: outcome)
    said = Said(capsys, "sweep", f"{STRENGTH}=0.1,0.25", "one")
    assert said.code == 1 and "nothing is chosen: no variant has a figure 'rankme'" in said.out
    assert "trained__strength_0_1" in said.out and not (Workspace(root).state / "sweeps").exists()
    outcome.stopped = "interrupted"
    assert Said(capsys, "sweep", f"{STRENGTH}=0.1,0.25", "one").code == 130
