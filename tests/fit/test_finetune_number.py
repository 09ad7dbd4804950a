"""The head `finetune_number`, and how `finetune` chooses its epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common import tasks
from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.common.workspace import Workspace
from tests.builders import split_of, write_corpus, write_features
from tests.extract.conftest import write_encoder
from tests.fit.workspace import embeddings, node, run


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """100 pictures with a number, 20 + 3 x their mean brightness, and a class that one in ten has; an untrained encoder."""
    made, rng = Workspace(tmp_path), np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for i in range(100):
        level = int(rng.integers(40, 200))
        pixels = np.clip(rng.normal(level, 8, 64), 0, 255).astype(np.uint8)
        keys = {"id": f"i{i:04d}", "split": split_of(i), "group": f"i{i}"}
        rows.append({**keys, "light": 20 + 3 * level / 255, "odd": int(i % 11 == 0), "image": pixels})
    columns = [
        Column("light", "label", "number", unit="cd"),
        Column("odd", "label", "class", classes=["no", "yes"]),
        Column("image", "media", "pixels", shape=[8, 8, 1]),
    ]
    write_corpus(made.corpus("c"), columns, rows)
    write_encoder(made.encoder("e"), made.corpus("c"), seeds=(0,))
    write_features(made.features("f"), [str(r["id"]) for r in rows], [split_of(i) for i in range(100)], {0: embeddings(100)})
    return made


def task(**head: Any) -> dict[str, Any]:
    given = {"name": "finetune_number", "epochs": 15, "batch_size": 10, "lr": 0.01, "head_lr": 0.02, **head}
    return node(given, support="encoders/e", label="light", metrics=["rmse"], labels=["all"], seeds=[0])


def test_the_encoder_learns_a_number_and_the_same_seed_the_same_bits(place: Workspace) -> None:
    first = tasks.read_predictions(run(place, task(), "one"), 0, "all")
    again = tasks.read_predictions(run(place, task(), "two"), 0, "all")
    assert (first.prediction == again.prediction).all()
    spread = first.target.std()
    assert np.sqrt(np.mean((first.prediction - first.target) ** 2)) < 0.35 * spread  # in the label's own unit


def test_with_both_rates_at_zero_it_says_the_mean_of_the_train_labels(place: Workspace) -> None:
    found = tasks.read_predictions(run(place, task(epochs=1, lr=0.0, head_lr=0.0)), 0, "all")
    from stages.common.corpus import Corpus

    mean = np.mean(Corpus(place.corpus("c")).table(["light"], ["train"])["light"].to_numpy())
    np.testing.assert_allclose(found.prediction, mean, atol=1e-9)


def test_the_epoch_with_the_least_error_on_valid_is_kept(place: Workspace) -> None:
    few, more = (tasks.read_result(run(place, task(epochs=e), f"e{e}")).details["fits"][0] for e in (1, 15))
    assert more["valid_mse"] < few["valid_mse"]


def test_finetune_keeps_the_epoch_of_least_cross_entropy_if_asked(place: Workspace) -> None:
    """All epochs call every item `no` and are equally accurate; the first would be kept. The last has learnt the share."""

    def score(choose: str) -> np.ndarray:
        head = {"name": "finetune", "epochs": 6, "batch_size": 60, "lr": 0.0, "head_lr": 0.003, "warmup": 0.0, "choose": choose}
        plan = node(head, support="encoders/e", label="odd", metrics=["auroc"], labels=["all"], seeds=[0])
        found = tasks.read_predictions(run(place, plan, choose), 0, "all").score
        assert found is not None
        return found

    assert score("loss")[:, 1].mean() < score("accuracy")[:, 1].mean() - 0.005


def test_it_needs_a_number_and_an_encoder(place: Workspace) -> None:
    with pytest.raises(UserError, match="is fitted on a number"):
        run(place, {**task(), "label": "odd"})
    with pytest.raises(UserError, match="needs the encoder itself"):
        run(place, {**task(), "support": "features/f"}, "two")
