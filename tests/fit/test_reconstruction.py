"""The head `reconstruction`: what counts as a molecule, as the right one, and what is written from what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import tasks
from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import UserError
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.encoders.backbones.bart import Bart
from stages.encoders.core import encoder as encoders
from stages.fit.heads.reconstruction import Reconstruction, judged
from stages.ingest.core.tokenizer import trained
from tests.builders import write_corpus, write_features
from tests.fit.workspace import embeddings, node, run

pytest.importorskip("rdkit")
SMILES = ["CCO", "c1ccccc1O", "CC(=O)O", "C1CCCCC1", "CCN", "CC(C)CO", "c1ccncc1", "OCC(O)CO"] * 3


def test_validity_is_of_what_parses_and_recovery_of_the_same_molecule() -> None:
    found = judged(["CCO", "CCO", "CCO", "c1ccccc1", "CC"], ["CO", "C(", "C", "", "C1"], ["OCC", "CCN", "C(C", "", "C1CC"])
    assert found == {"validity": 2 / 5, "recovery": 1 / 5, "source_validity": 2 / 5}


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """24 molecules, all of them test items but a few; an encoder `bart` at its initial weights."""
    made = Workspace(tmp_path)
    split = ["train", "valid", *["test"] * 22]
    rows: list[dict[str, Any]] = [
        {"id": f"m{i:02d}", "split": split[i], "group": f"m{i}", "smiles": s} for i, s in enumerate(SMILES)
    ]
    write_corpus(made.corpus("c"), [Column("smiles", "media", "molecule")], rows)
    (tmp_path / "words").mkdir()
    plan = TokenizerPlan("characters", 40, lowercase=False)
    (tmp_path / "words" / TOKENIZER).write_text(trained(lambda: iter(SMILES), plan).to_str())
    parts = (Part("tokens", {"length": 12}), Part("bart", {"dim": 8, "depth": 1, "decoder_depth": 1, "heads": 2}))
    torch.manual_seed(0)
    net = encoders.new(*parts, Column("smiles", "media", "molecule"), tmp_path / "words")
    folder = made.encoder("e") / "seed=0"
    folder.mkdir(parents=True)
    card = encoders.EncoderCard(*parts, Column("smiles", "media", "molecule"), "c", "d", "s", "none", 0, 0, net.width)
    encoders.save(folder, net, card)
    from stages.common import atomic

    atomic.seal(made.encoder("e"))
    names = [str(row["id"]) for row in rows]
    write_features(made.features("f"), names, split, {0: embeddings(24)})
    return made


def task(**head: Any) -> dict[str, Any]:
    given = {"name": "reconstruction", **head}
    return node(given, support="encoders/e", label=None, metrics=[], labels=["all"], seeds=[0])


def echo(monkeypatch: pytest.MonkeyPatch, change: Any = lambda x: x) -> None:
    monkeypatch.setattr(Bart, "generate", lambda self, x, length: change(x.x))


def test_an_encoder_that_writes_what_it_read_is_as_valid_as_the_corrupted_texts(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo(monkeypatch)
    found = tasks.read_result(run(place, task()))
    values = {m.name: m.value for m in found.metrics}
    assert values["validity"] == values["source_validity"] and values["recovery"] < 0.2
    (fit,) = found.details["fits"]
    assert fit["too_long"] == 0 and len(fit["examples"]) == 5 and fit["examples"][0][1] == fit["examples"][0][2]
    assert {m.n for m in found.metrics} == {22}


def test_an_encoder_that_writes_the_original_recovers_all(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.fit.heads.reconstruction.infilled", lambda x, key, share, mean: x)
    echo(monkeypatch)
    values = {m.name: m.value for m in tasks.read_result(run(place, task())).metrics}
    assert values == {"validity": 1.0, "recovery": 1.0, "source_validity": 1.0}


def test_it_writes_by_the_encoder_the_same_each_time_and_no_more_items_than_asked(place: Workspace) -> None:
    first, again = (tasks.read_result(run(place, task(items=4), key)) for key in ("one", "two"))
    assert first.details == again.details and {m.n for m in first.metrics} == {4}


def test_what_cannot_be_written_is_refused(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="nothing to write"):
        Reconstruction(items=0)
    with pytest.raises(UserError, match="lies between 0 and 1"):
        Reconstruction(share=1.5)
    with pytest.raises(UserError, match="needs the encoder itself"):
        run(place, {**task(), "support": "features/f"})
    monkeypatch.delattr(Bart, "generate")
    with pytest.raises(UserError, match="writes nothing"):
        run(place, task(), "three")
