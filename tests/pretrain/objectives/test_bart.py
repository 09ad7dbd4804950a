"""BART's denoising: its loss against others' implementation, closed forms, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import nn

from stages.common import registry
from stages.common.corpus import TOKENIZER, Column
from stages.common.errors import UserError
from stages.common.media import tokenised
from stages.common.plan import TokenizerPlan
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded
from stages.ingest.core.tokenizer import trained
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.objectives.bart import foretold
from stages.views.core.base import Key

TEXTS = ["CCO", "c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O", "N", "C1CC1"]
LENGTH = 16
SMALL = {"dim": 16, "depth": 2, "decoder_depth": 2, "heads": 4, "dropout": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tokens")
    plan = TokenizerPlan("bpe", 24, lowercase=False, pattern=r"[\s\S]+")
    (made / TOKENIZER).write_text(trained(lambda: iter(TEXTS * 3), plan).to_str())
    return made


def net(folder: Path, **arguments: Any) -> Encoder:
    torch.manual_seed(0)
    parts = (Part("tokens", {"length": LENGTH}), Part("bart", {**SMALL, **arguments}))
    made = encoders.new(*parts, Column("smiles", "media", "molecule"), folder).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def objective(encoder: Encoder) -> Objective:
    made: Objective = registry.make("objective", Part("bart", {}), encoder)
    return made


def batch(encoder: Encoder, rows: slice = slice(None)) -> Batch:
    stored = tokenised(pa.array(TEXTS, pa.string()), encoder.frontend.contract["tokenizer"], LENGTH)
    assert stored.lengths is not None
    data, lengths = torch.from_numpy(stored.data)[rows], torch.from_numpy(stored.lengths)[rows]
    key = Key(0, 0, torch.arange(5)[rows])
    views = registry.make("views", Part("span_infilling", {}), encoder.frontend)
    return Batch(views(data, lengths, key), key, torch.arange(len(data)))


def test_the_loss_is_that_of_transformers_over_the_originals_own_symbols(folder: Path) -> None:
    pytest.importorskip("transformers")
    from tests.peers import bart as peer

    encoder = net(folder)
    made = batch(encoder)
    corrupted, original = made.views
    assert isinstance(corrupted, Padded) and isinstance(original, Padded)
    theirs = peer.of(encoder.backbone, 4)  # type: ignore[arg-type]
    labels = original.x.masked_fill(~original.own(), -100)
    told = theirs(input_ids=corrupted.x, attention_mask=corrupted.own().long(), labels=labels)
    terms = objective(encoder)(encoder, made)
    torch.testing.assert_close(terms["total"], told.loss, atol=1e-5, rtol=1e-5)
    right = (told.logits.argmax(-1) == original.x)[original.own()].float().mean()
    torch.testing.assert_close(terms["accuracy"], right)


def test_gradients_are_those_of_transformers(folder: Path) -> None:
    pytest.importorskip("transformers")
    from tests.peers import bart as peer

    encoder = net(folder)
    made = batch(encoder)
    corrupted, original = made.views
    assert isinstance(corrupted, Padded) and isinstance(original, Padded)
    theirs = peer.of(encoder.backbone, 4)  # type: ignore[arg-type]
    labels = original.x.masked_fill(~original.own(), -100)
    theirs(input_ids=corrupted.x, attention_mask=corrupted.own().long(), labels=labels).loss.backward()
    objective(encoder)(encoder, made)["total"].backward()
    ours: Any = encoder.backbone
    torch.testing.assert_close(ours.symbols.weight.grad[1:], theirs.model.shared.weight.grad[1:], atol=1e-5, rtol=1e-4)
    last = theirs.model.decoder.layers[-1]
    torch.testing.assert_close(ours.decoder[-1].query.weight.grad, last.encoder_attn.q_proj.weight.grad, atol=1e-5, rtol=1e-4)
    first = theirs.model.encoder.layers[0]
    torch.testing.assert_close(ours.blocks[0].mlp[0].weight.grad, first.fc1.weight.grad, atol=1e-5, rtol=1e-4)


def test_groups_of_like_length_and_padding_leave_the_loss_as_it_is(folder: Path) -> None:
    whole = objective(net(folder))(net(folder), batch(net(folder)))["total"]
    parted = net(folder, groups=3)
    torch.testing.assert_close(objective(parted)(parted, batch(parted))["total"], whole, atol=1e-5, rtol=1e-5)


def test_a_symbol_weighs_the_same_in_a_long_text_as_in_a_short_one(folder: Path) -> None:
    encoder = net(folder)
    found = [objective(encoder)(encoder, batch(encoder, slice(i, i + 1)))["total"] for i in range(5)]
    counts = batch(encoder).views[1].lengths.double()  # type: ignore[union-attr]
    expected = (torch.stack(found).double() * counts).sum() / counts.sum()
    torch.testing.assert_close(objective(encoder)(encoder, batch(encoder))["total"].double(), expected, atol=1e-5, rtol=1e-5)


def test_where_nothing_is_known_the_loss_is_the_logarithm_of_the_vocabulary(folder: Path) -> None:
    encoder = net(folder)
    nn.init.zeros_(encoder.backbone.symbols.weight)  # type: ignore[arg-type, union-attr]
    total = objective(encoder)(encoder, batch(encoder))["total"]
    assert total.item() == pytest.approx(math.log(encoder.frontend.vocabulary), rel=1e-6)
    sure = torch.eye(7) * 100
    assert foretold(sure, torch.arange(7)).item() == pytest.approx(0, abs=1e-6)


def test_a_backbone_that_writes_nothing_and_a_single_view_are_refused(folder: Path) -> None:
    parts = (Part("tokens", {"length": LENGTH}), Part("text_transformer", {"dim": 8, "depth": 1, "heads": 2}))
    with pytest.raises(UserError, match="has no decoder"):
        objective(encoders.new(*parts, Column("smiles", "media", "molecule"), folder))
    encoder = net(folder)
    made = batch(encoder)
    with pytest.raises(UserError, match="a corrupted text and the original"):
        objective(encoder)(encoder, Batch(made.views[:1], made.key, made.index))
