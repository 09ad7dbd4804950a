"""The head `finetune`: it learns from pictures what frozen features cannot say, repeatably, and tells what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stages.common import tasks
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.builders import image_corpus, split_of, write_features
from tests.extract.conftest import write_encoder
from tests.fit.workspace import embeddings, node, run


@pytest.fixture
def pictures(tmp_path: Path) -> Workspace:
    """100 pictures with a bright corner as corpus `c`, features `f` that say nothing of it, an untrained encoder `e`."""
    made = Workspace(tmp_path)
    image_corpus(made.corpus("c"), n=100, classes=2)
    write_encoder(made.encoder("e"), made.corpus("c"), seeds=(0,))
    names = [f"i{i:04d}" for i in range(100)]
    write_features(made.features("f"), names, [split_of(i) for i in range(100)], {0: embeddings(100)})
    return made


def task(**changes: Any) -> dict[str, Any]:
    head = changes.pop("head", {"name": "finetune", "epochs": 15, "batch_size": 10, "lr": 0.02, "head_lr": 0.02})
    return node(head, **{"support": "encoders/e", "label": "digit", "labels": ["all"], "seeds": [0], **changes})


def test_the_encoder_learns_the_labels_and_the_same_seed_the_same_bits(pictures: Workspace) -> None:
    first = tasks.read_predictions(run(pictures, task(), "one"), 0, "all")
    again = tasks.read_predictions(run(pictures, task(), "two"), 0, "all")
    assert (first.prediction == first.target).mean() == 1.0 and first.score is not None and again.score is not None
    assert (first.score == again.score).all() and first.score.shape == (20, 2)
    probe = tasks.read_result(run(pictures, task(head={"name": "linear_probe"}, support="features/f"), "three"))
    assert probe.metrics[0].value is not None and probe.metrics[0].value < 0.8  # the features it was handed say nothing


def test_with_both_rates_at_zero_it_stays_at_even_odds(pictures: Workspace) -> None:
    still = {"name": "finetune", "epochs": 1, "lr": 0.0, "head_lr": 0.0}
    found = tasks.read_predictions(run(pictures, task(head=still)), 0, "all")
    assert found.score is not None and (found.score == 0.5).all()


def test_without_an_encoder_it_says_how_to_name_one(pictures: Workspace) -> None:
    with pytest.raises(UserError, match="this head needs the encoder itself"):
        run(pictures, task(support="features/f"))
