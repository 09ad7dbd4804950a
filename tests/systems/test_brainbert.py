"""BrainBERT's corpora: whoever is tested was never pretrained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import compose
from stages.common.corpus import Corpus
from stages.common.workspace import Workspace
from tests.systems.running import execute

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("brainbert_scalp", "brainbert_back")


@pytest.fixture(scope="module")
def made(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    """Both corpora as the recipe splits them, from fewer trials and electrodes, which a split by subjects does not see."""
    whole = compose.make(ROOT, ["brainbert"], size="smoke")[1]
    workspace = Workspace(tmp_path_factory.mktemp("brainbert"))
    for name in NAMES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PRELUDE_MIRROR", str(mirror))
            execute("ingest", name, whole, workspace)
    return {name: Corpus(workspace.corpus(name)) for name in NAMES}


def subjects(corpus: Corpus, split: str) -> set[str]:
    return set(corpus.table(["group"], [split])["group"].to_pylist())


def test_no_test_subject_is_pretrained_on(made: dict[str, Corpus]) -> None:
    scalp, back = (made[name] for name in NAMES)
    for split, count in (("train", 10), ("valid", 4), ("test", 6)):
        assert subjects(scalp, split) == subjects(back, split) and len(subjects(back, split)) == count
    assert not subjects(scalp, "train") & (subjects(back, "test") | subjects(back, "valid"))


def test_an_item_is_one_electrode_of_a_trial_and_each_split_has_both_stimuli(made: dict[str, Corpus]) -> None:
    back = made["brainbert_back"]
    assert back.count() == 2 * 37 and back.card.media(None).shape == [256, 1]
    for split in ("train", "valid", "test"):
        assert set(back.table(["stimulus"], [split])["stimulus"].to_pylist()) == {0, 1}
