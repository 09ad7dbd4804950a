"""`prelude sweep` on a small real plan, in a copy of the repository: variants run, once; the choice is printed and noted."""

from __future__ import annotations

import json

import pytest

from tests.e2e.test_dag import Copy

pytestmark = pytest.mark.slow
EPOCHS = "encoders.simclr.epochs"
SMALL = """# @package _global_
defaults:
  - /corpus@corpora.digits: digits
  - /encoder@encoders.simclr: resnet
  - /features@features.simclr: clip
  - /task@tasks.probe: linear_probe
  - /task@tasks.measures: measures
  - _self_
encoders:
  simclr:
    corpus: digits
    epochs: 1
    seeds: [0, 1]
    backbone: {width: 8, blocks: [1, 1]}
    views: {flip: 0.0, blur: 0.0}
    monitor: {label: digit, rows: 128}
features: {simclr: {encoder: simclr, corpus: digits}}
tasks:
  probe: {system: small, corpus: digits, features: simclr, label: digit, labels: ["5"], seeds: [0, 1]}
  measures: {system: small, corpus: digits, features: simclr, seeds: [0, 1]}
systems: {small: {title: A small plan for a sweep}}
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    made = Copy(tmp_path_factory.mktemp("copy"))
    (made.folder / "params/system/small.yaml").write_text(SMALL)
    return made


def states(said: str) -> dict[str, str]:
    """{stage: what became of it} of a run's lines."""
    lines = [line.split() for line in said.splitlines()]
    return {w[0]: w[1] for w in lines if len(w) > 1 and w[1] in ("ran", "restored", "cached", "failed", "skipped")}


def sweep(copy: Copy, *words: str) -> str:
    return copy.prelude("sweep", *words, "--system", "small", "--no-prefect")


def test_a_sweep_runs_its_variants_once_and_a_further_value_alone(copy: Copy) -> None:
    said = sweep(copy, f"{EPOCHS}=1,0")
    ran = {name for name, state in states(said).items() if state == "ran"}
    tail = "__epochs_0"
    nodes = ("pretrain@simclr", "extract@simclr", "fit@probe", "fit@measures")
    assert ran == {"ingest@digits", *nodes, *(f"{node}{tail}" for node in nodes), "evaluate@small", "report"}
    assert "* chosen by rankme (measures; no label seen)" in said and "would have chosen" in said
    noted = json.loads((copy.folder / ".prelude/sweeps/simclr_epochs.json").read_text())
    assert noted["chosen"] in ("simclr", f"simclr{tail}") and len(noted["variants"]) == 2
    page = (copy.folder / "data/report/index.html").read_text()
    assert 'id="sweeps"' in page and "2 points of" in page
    before = copy.digests("records", "report")

    copy.prelude("plan", "small")
    assert not (copy.folder / "data/encoders" / f"simclr{tail}").exists()  # set aside
    said = sweep(copy, f"{EPOCHS}=1,0")
    assert "\n0 ran, " in f"\n{said}" and set(states(said).values()) <= {"restored", "cached"}
    assert copy.digests("records", "report") == before

    ran = {name for name, state in states(sweep(copy, f"{EPOCHS}=0,1,2")).items() if state == "ran"}
    assert ran == {*(f"{node}__epochs_2" for node in nodes), "evaluate@small", "report"}


def test_a_dry_sweep_and_a_wrong_key_write_nothing(copy: Copy) -> None:
    before = (copy.folder / "params.yaml").read_bytes()
    said = copy.prelude("sweep", f"{EPOCHS}=1,5", "small", "--dry")
    assert "simclr__epochs_5: encoders.simclr__epochs_5" in said and "nothing written" in said
    said = copy.prelude("sweep", "encoders.simclr.epoch=1,5", "small", code=2)
    assert "error: unknown key 'epoch'" in said and "did you mean 'epochs'?" in said
    assert (copy.folder / "params.yaml").read_bytes() == before
