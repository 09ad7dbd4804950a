"""Figures of an encoder's training as a task's figures, and the card through which a head reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import atomic, tasks
from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import EncoderCard
from stages.fit.core.material import Material
from tests.fit import workspace as w

FIGURES = {0: {"loss": 0.25, "prediction": 0.125}, 1: {"loss": 0.5, "prediction": 0.0625}}


def encoder(folder: Path, figures: dict[int, dict[str, float]] = FIGURES) -> Path:
    """A sealed encoder whose cards hold the figures of each seed."""
    column = Column("image", "media", "pixels", shape=[4, 4, 1])
    frontend, backbone = Part("image"), Part("raw_input")
    for seed, metrics in figures.items():
        (folder / f"seed={seed}").mkdir(parents=True)
        net = encoders.new(frontend, backbone, column, folder)
        card = EncoderCard(frontend, backbone, column, "c", "d", "s", "lejepa", seed, 100 + seed, net.width, metrics=metrics)
        encoders.save(folder / f"seed={seed}", net, card)
    atomic.seal(folder)
    return folder


def made(root: Path) -> Workspace:
    found = w.workspace(root)
    encoder(found.encoder("e"))
    return found


def node(support: str = "encoders/e", **arguments: Any) -> dict[str, Any]:
    return w.node({"name": "history", **arguments}, metrics=[], label=None, support=support)


def test_the_loss_of_each_seed_becomes_a_figure(tmp_path: Path) -> None:
    result = tasks.read_result(w.run(made(tmp_path), node()))
    assert result.values("loss") == {0: 0.25, 1: 0.5}
    assert [v.n for v in result.metrics] == [0, 0]  # no test items are behind it
    assert [f["steps"] for f in result.details["fits"]] == [100, 101]


def test_figures_may_be_named_and_divided(tmp_path: Path) -> None:
    result = tasks.read_result(w.run(made(tmp_path), node(names=["prediction", "loss"], over=0.5)))
    assert result.values("prediction") == {0: 0.25, 1: 0.125}
    assert result.values("loss") == {0: 0.5, 1: 1.0}


def test_a_figure_that_the_training_did_not_keep_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'prediction'"):
        w.run(made(tmp_path), node(names=["predicton"]))


def test_a_task_without_an_encoder_is_told_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="support: encoders/<name>"):
        w.run(made(tmp_path), node(support="features/f"))


@pytest.mark.parametrize("wrong", [{"names": []}, {"over": 0.0}, {"over": -1.0}])
def test_arguments_out_of_range_are_the_users_mistake(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="history"):
        w.run(made(tmp_path), node(**wrong))


def test_material_gives_the_card_of_its_seed_or_of_the_only_one(tmp_path: Path) -> None:
    corpus, folder = w.corpus(tmp_path / "c"), encoder(tmp_path / "e")
    assert Material(corpus, folder, 1, torch.device("cpu")).card().metrics == FIGURES[1]
    only = encoder(tmp_path / "only", {0: FIGURES[0]})
    assert Material(corpus, only, 1, torch.device("cpu")).card().steps == 100
    with pytest.raises(UserError, match="no seed 2"):
        Material(corpus, folder, 2, torch.device("cpu")).card()
    with pytest.raises(UserError, match="needs the encoder itself"):
        Material(corpus, None, 0, torch.device("cpu")).card()
