"""The whole DAG under DVC, on a tiny plan in a fresh copy of the repository: what a user does, in the order a user does it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from tests.e2e.copy import Copy
from tests.killing import run_killed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    made = Copy(tmp_path_factory.mktemp("copy"))
    made.prelude("plan", "tiny")
    made.dvc("repro", "-q")
    return made


def test_repro_makes_every_output_and_the_page(copy: Copy) -> None:
    assert (copy.folder / "data/report/index.html").stat().st_size > 10_000
    result = json.loads((copy.folder / "data/reports/tiny/result.json").read_text())
    assert [c["verdict"] in ("holds", "open", "contradicted") for c in result["claims"]] == [True]


def test_a_second_repro_runs_nothing(copy: Copy) -> None:
    assert "Running stage" not in copy.dvc("repro")
    assert "up to date" in copy.dvc("status")


def test_a_changed_temperature_reruns_what_depends_on_it_and_nothing_else(copy: Copy) -> None:
    before = copy.digests("records", "report")
    copy.prelude("plan", "tiny", "-s", "encoders.simclr.objective.temperature=0.2")
    downstream = {"pretrain@simclr", "extract@simclr", "fit@probe_simclr", "fit@measures_simclr", "evaluate@tiny", "report"}
    assert ran(copy.dvc("repro")) == downstream
    copy.prelude("plan", "tiny")
    assert ran(copy.dvc("repro")) == set()  # back from the run cache
    assert copy.digests("records", "report") == before


def ran(said: str) -> set[str]:
    """The stages that a `dvc repro` ran."""
    return {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")}


def test_deleted_data_comes_back_from_the_cache_byte_for_byte(copy: Copy) -> None:
    before = copy.digests()
    for folder in (copy.folder / "data").iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    assert "Running stage" not in copy.dvc("repro")
    assert copy.digests() == before


def test_the_same_plan_from_nothing_gives_the_same_bytes(copy: Copy) -> None:
    before = copy.digests("records", "report")
    copy.dvc("repro", "-q", "--force")
    assert copy.digests("records", "report") == before


def test_a_pretraining_killed_in_mid_epoch_ends_with_the_same_weights(copy: Copy) -> None:
    weights = copy.folder / "data/encoders/simclr/seed=0/encoder.safetensors"
    before = weights.read_bytes()
    shutil.rmtree(copy.folder / "data/encoders/simclr")
    command = [sys.executable, "-m", "stages.pretrain", "simclr"]
    run_killed(command, r"resume/pretrain/.*/step=0*4$", copy.folder / "hooks", copy.folder, copy.env())  # epochs of 5 steps
    assert not weights.exists()
    copy.run(*command)
    assert weights.read_bytes() == before


def test_the_exp_run_composition_is_the_one_that_plan_writes(copy: Copy) -> None:
    before = (copy.folder / "params.yaml").read_text()
    from dvc.utils.hydra import compose_and_dump

    out = copy.folder / "composed.yaml"
    compose_and_dump(out, str((copy.folder / "params").absolute()), None, "config", "", ["system=tiny"])
    from stages.common.plan import read

    assert read(out) == read(copy.folder / "params.yaml")
    assert (copy.folder / "params.yaml").read_text() == before
