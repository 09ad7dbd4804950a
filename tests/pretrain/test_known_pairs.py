"""What a loss may know beside the views: partners of equal value, side columns, a frozen teacher; and what it leaves behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common.corpus import Column, Corpus
from stages.common.errors import ContractError, UserError
from stages.common.workspace import Workspace
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core import data, trainer
from stages.pretrain.core.items import Items, Partners
from stages.pretrain.core.objective import Batch, Still, follow
from stages.pretrain.objectives.simclr import SimCLR
from stages.views.core import random
from tests.builders import split_of, write_corpus
from tests.pretrain.conftest import Pretrain, bytes_of


def test_a_partner_is_another_item_of_the_same_value_each_as_likely() -> None:
    value = torch.tensor([5, 2, 5, 9, 2, 5, 5])
    partners = Partners.of(value)
    index = torch.arange(len(value)).repeat(4000)
    drawn = partners.draw(index, random.uniform(random.stream(torch.arange(len(index))), 1)[:, 0])
    assert torch.equal(value[index], value[drawn])
    assert torch.equal(index == drawn, value[index] == 9)  # alone: its own partner
    counts = Counter(drawn[index == 0].tolist())
    assert set(counts) == {2, 5, 6} and min(counts.values()) > 1200
    edge = torch.full((7,), 1 - 2.0**-24)
    assert torch.equal(value[partners.draw(torch.arange(7), edge)], value)


@pytest.fixture
def posed(tmp_path: Path) -> Workspace:
    """60 pictures, each brightness twice: a class, a number, a pose of four, a group."""
    place = Workspace(tmp_path)
    rows: list[dict[str, object]] = [
        {
            "id": f"i{i:03d}",
            "split": split_of(i // 2),
            "group": f"g{i // 2:03d}",
            "digit": (i // 2) % 3,
            "turn": float(i),
            "pose": [float(i), 1.0, 2.0, 3.0],
            "image": np.full(64, 4 * (i // 2), np.uint8),
        }
        for i in range(60)
    ]
    columns = [
        Column("digit", "label", "class", classes=["0", "1", "2"]),
        Column("turn", "label", "number"),
        Column("pose", "media", "series", shape=[4, 1]),
        Column("image", "media", "pixels", shape=[8, 8, 1]),
    ]
    write_corpus(place.corpus("squares"), columns, rows)
    return place


@pytest.fixture
def workspace(posed: Workspace) -> Workspace:
    return posed


def test_a_batch_holds_the_partners_views_and_the_columns_of_both(pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Batch] = []
    plain = SimCLR.forward

    def watched(self: SimCLR, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        seen.append(batch)
        return plain(self, encoder, batch)

    monkeypatch.setattr(SimCLR, "forward", watched)
    views = {"name": "none"}
    pretrain(pairs="group", side=["turn", "digit", "pose"], media="image", views=views, batch_size=8, monitor={}, epochs=1)
    for batch in seen:
        assert len(batch.views) == 2 and len(batch) == 8
        assert torch.equal(batch.views[0], batch.views[1])  # partners are as bright
        assert torch.equal((batch.side["turn"] - batch.other["turn"]).abs(), torch.ones(8))
        assert torch.equal(batch.side["digit"], batch.other["digit"]) and batch.side["digit"].dtype == torch.int64
        assert torch.equal(batch.side["pose"][:, 0, 0], batch.side["turn"])
        assert torch.equal(batch.side["turn"].long(), batch.sample)


def test_columns_that_make_no_side_or_pairs_are_refused(posed: Workspace) -> None:
    corpus = Corpus(posed.corpus("squares"))
    with pytest.raises(UserError, match="of kind string cannot be handed to an objective"):
        data.side(corpus, "group", ["train"])
    with pytest.raises(UserError, match="of kind series makes no pairs"):
        data.codes(corpus, "pose", ["train"])
    assert len(set(data.codes(corpus, "group", ["train"]).tolist())) == corpus.count(["train"]) / 2


def test_a_teacher_comes_frozen_and_the_encoder_starts_anew(pretrain: Pretrain, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[Encoder | None] = []

    def prepare(self: SimCLR, encoder: Encoder, items: Items, teacher: Encoder | None) -> None:
        handed.append(teacher)
        assert len(items) == 36

    monkeypatch.setattr(SimCLR, "prepare", prepare)
    small = {"media": "image", "monitor": {}, "epochs": 1}
    parent = pretrain("parent", **small)
    start = {"parent": "encoders/parent", "use": "teacher"}
    child = pretrain("child", others={"parent": _node(**small)}, **small, **start)
    first, second = handed
    assert first is None and second is not None
    kept = encoders.load(parent / "seed=0")[0].state_dict()
    assert all(torch.equal(v, kept[k]) for k, v in second.state_dict().items())
    assert not any(p.requires_grad for p in second.parameters()) and not second.training
    card = encoders.load_card(child / "seed=0")
    assert card.parent == "encoders/parent"
    assert bytes_of(parent)["seed=0/encoder.safetensors"] == bytes_of(child)["seed=0/encoder.safetensors"]  # the same start


def _node(**changes: object) -> dict[str, object]:
    from tests.pretrain.conftest import node

    return node(**changes)


def test_the_projector_is_saved_and_loads_as_it_was_trained(pretrain: Pretrain) -> None:
    folder = pretrain(media="image", monitor={}, epochs=1) / "seed=0"
    projector = encoders.load_projector(folder)
    assert projector.arguments == {"kind": "mlp", "width": 8, "hidden": 8, "out": 8, "layers": 2}
    assert not projector.training and projector[1].num_batches_tracked == 2


def test_a_still_module_neither_learns_nor_changes_its_mode_and_an_average_follows() -> None:
    torch.manual_seed(0)
    net, average = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    still = Still(average)
    torch.nn.ModuleList([still]).train()
    assert not average.training and not any(p.requires_grad for p in still.parameters())
    start, target = average.weight.clone(), net.weight.detach()
    for _ in range(3):
        follow(average, net, 0.9)
    torch.testing.assert_close(average.weight, 0.9**3 * start + (1 - 0.9**3) * target)


def test_a_teacher_of_another_medium_is_taken_where_its_column_is_beside_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(column=Column("text", "media", "text"))
    monkeypatch.setattr(encoders, "seeds", lambda folder: [0])
    monkeypatch.setattr(encoders, "load", lambda folder: (SimpleNamespace(), card))

    def task(use: str, side: list[str]) -> Any:
        node = SimpleNamespace(use=use, side=side)
        return SimpleNamespace(key="e", node=node, column=Column("graph", "media", "graph"), parent="p")

    assert trainer.parent(0, task("teacher", ["text"]), Path("p"))[1] is card
    for use, side in (("teacher", ["other"]), ("start", ["text"])):
        with pytest.raises(ContractError, match="the encoder takes text"):
            trainer.parent(0, task(use, side), Path("p"))
