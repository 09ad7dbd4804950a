"""The whole DAG under DVC, on a tiny plan in a fresh copy of the repository: what a user does, in the order a user does it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.killing import run_killed

ROOT = Path(__file__).resolve().parents[2]
TINY = """# @package _global_
defaults:
  - /corpus@corpora.digits: digits
  - /encoder@encoders.simclr: resnet
  - /encoder@encoders.random: resnet
  - /features@features.simclr: clip
  - /features@features.random: clip
  - /task@tasks.probe_simclr: linear_probe
  - /task@tasks.probe_random: linear_probe
  - /task@tasks.measures_simclr: measures
  - override /objective@encoders.random.objective: none
  - _self_
encoders:
  simclr: &small
    corpus: digits
    epochs: 2
    seeds: [0, 1]
    snapshot_every: 2
    backbone: {width: 8, blocks: [1, 1]}
    views: {flip: 0.0, blur: 0.0}
    monitor: {label: digit, rows: 128}
  random: {<<: *small, epochs: 0}
features:
  simclr: {encoder: simclr, corpus: digits}
  random: {encoder: random, corpus: digits}
tasks:
  probe_simclr: &probe {system: tiny, corpus: digits, features: simclr, label: digit, labels: ["5", all], seeds: [0, 1]}
  probe_random: {<<: *probe, features: random}
  measures_simclr: {system: tiny, corpus: digits, features: simclr, seeds: [0, 1]}
systems:
  tiny:
    title: A tiny plan for tests
    claims:
      learns:
        says: SimCLR beats an untrained network
        metric: accuracy
        slice: "5"
        order: [probe_simclr, probe_random]
"""
pytestmark = pytest.mark.slow


class Copy:
    """A fresh copy of the repository's files, with its own Git and DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        ).stdout
        for name in listed.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "params/system/tiny.yaml").write_text(TINY)
        self.run("git", "init", "-q")
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "start")

    def env(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder), "CI": "true"}

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(command, cwd=self.folder, env=self.env(), capture_output=True, text=True)
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def prelude(self, *words: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "flows.cli", *words, code=code)

    def dvc(self, *words: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *words)

    def digests(self, *skip: str) -> dict[str, str]:
        """SHA-256 of every output file, but for the folders named."""
        data = self.folder / "data"
        files = [
            p for p in sorted(data.rglob("*")) if p.is_file() and p.relative_to(data).parts[0] not in (*skip, ".gitignore")
        ]
        return {str(p.relative_to(data)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


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
