"""HuBERT's objective against loops and closed forms; what masks, units and padding do to it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Input, Padded, Tokens
from stages.pretrain.core.items import Items
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives import masked_units
from stages.pretrain.objectives.masked_units import MaskedUnits, averaged, mfcc, prediction, spans
from stages.views.core import random
from stages.views.core.base import Key
from tests.oracles import masked_units as slow

MEL = {"samples": 1600, "n_mels": 12, "normalise": True, "padded": True}
NET = {"dim": 16, "depth": 2, "heads": 2}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def encoder(backbone: Part | None = None, frontend: Part | None = None) -> Encoder:
    torch.manual_seed(0)
    column = Column("audio", "media", "waveform", rate=8000)
    return encoders.new(frontend or Part("log_mel", MEL), backbone or Part("mel_transformer", NET), column, Path())


def items(n: int = 12) -> Items:
    draw = torch.Generator().manual_seed(1)
    lengths = torch.randint(500, 1601, (n,), generator=draw)
    data = (3000 * torch.randn(n, 1600, generator=draw)).to(torch.int16)
    return Items(data * (torch.arange(1600) < lengths[:, None]), lengths, torch.arange(n), torch.full((n,), -1))


def made(net: Encoder, teacher: Encoder | None = None, **args: Any) -> MaskedUnits:
    torch.manual_seed(2)
    objective = MaskedUnits(net, **{"clusters": 6, "cepstra": 5, "span": 3, "code": 8, **args})
    objective.prepare(net, items(), teacher)
    return objective


def backbone(net: Encoder) -> TokenBackbone:
    assert isinstance(net.backbone, TokenBackbone)
    return net.backbone


def embedded(net: Encoder, x: Input) -> Tokens:
    return backbone(net).embed(net.prepared(x))


def batch(net: Encoder, n: int = 6, epoch: int = 0, at: Tensor | None = None) -> Batch:
    chosen = items().at(torch.arange(n) if at is None else at)
    return Batch([net.frontend(chosen.data, chosen.lengths)], Key(0, epoch, chosen.rows), chosen.rows)


# The loss


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_prediction_is_eq_3_token_by_token(temperature: float) -> None:
    rng = np.random.default_rng(0)
    o, codes, unit = rng.normal(size=(7, 5)), rng.normal(size=(4, 5)), rng.integers(0, 4, 7)
    got = prediction(torch.from_numpy(o), torch.from_numpy(codes), torch.from_numpy(unit), temperature=temperature)
    assert float(got) == pytest.approx(slow.prediction(o, codes, unit, temperature), rel=1e-12)


def test_tokens_on_their_codes_have_the_closed_form_and_length_does_not_matter() -> None:
    codes, unit = torch.eye(5, dtype=torch.float64), torch.tensor([0, 3, 3])
    expected = math.log(math.exp(1 / 0.5) + 4) - 1 / 0.5
    assert float(prediction(7 * codes[unit], 0.1 * codes, unit, temperature=0.5)) == pytest.approx(expected, abs=1e-12)
    nothing = prediction(torch.ones(2, 5, dtype=torch.float64), codes, unit[:2], temperature=0.1)
    assert float(nothing) == pytest.approx(math.log(5), abs=1e-12)


def test_terms_are_finite_scalars_and_all_weights_get_a_gradient() -> None:
    net = encoder()
    objective = made(net, share=0.5)
    terms = objective(net, batch(net))
    assert all(v.shape == () and torch.isfinite(v) for v in terms.values())
    assert terms["total"].item() == pytest.approx(0.5 * terms["masked"].item() + 0.5 * terms["unmasked"].item(), rel=1e-6)
    terms["total"].backward()
    for name, parameter in objective.optimised(net):
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_the_loss_is_that_of_masked_tokens_alone() -> None:
    net = encoder().eval()
    objective, one = made(net), batch(net)
    view = one.views[0]
    assert isinstance(view, Padded)
    with torch.no_grad():
        got = objective(net, one)
        tokens = embedded(net, view)
        unit, own = objective.units(net, view, tokens), tokens.own
        assert own is not None
        masked = spans(random.uniform(random.stream(0, 0, one.sample, masked_units._MASK), own.shape[1]), own, 0.08, 3)
        o = objective.output(backbone(net).encode(Tokens(torch.where(masked[..., None], objective.mask, tokens.h), own))[-1])
    expected = slow.prediction(o[masked].double().numpy(), objective.codes.detach().double().numpy(), unit[masked].numpy(), 0.1)
    assert float(got["total"]) == pytest.approx(expected, rel=1e-4)
    assert got["total"] == got["masked"] and 0 < got["covered"] < 1 and "unmasked" not in got
    assert (own.sum(1) == torch.tensor([-(-int(n) // 2) for n in view.lengths])).all()
    assert set(unit[own].tolist()) <= set(range(6))


def test_a_masked_token_is_not_seen() -> None:
    """With every token masked, items of equal length give equal outputs, so the loss knows them by their targets alone."""
    net = encoder().eval()
    objective = made(net, start=1.0)
    chosen = items()
    same = Items(chosen.data, torch.full((len(chosen),), 1600), chosen.rows, chosen.labels).at(torch.arange(3))
    view = net.frontend(same.data, same.lengths)
    with torch.no_grad():
        terms = objective(net, Batch([view], Key(0, 0, same.rows), same.rows))
        tokens = embedded(net, view)
        hidden = objective.mask.expand_as(tokens.h[:1])
        o = objective.output(backbone(net).encode(Tokens(hidden))[-1])[0]
        unit = objective.units(net, view, tokens)
        expected = np.mean(
            [slow.prediction(o.double().numpy(), objective.codes.double().numpy(), u.numpy(), 0.1) for u in unit]
        )
    assert terms["covered"] == 1 and float(terms["total"]) == pytest.approx(float(expected), rel=1e-4)


# Masks


def test_spans_are_those_of_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    uniform, lengths = torch.rand(20, 30, generator=draw), torch.randint(1, 31, (20,), generator=draw)
    own = torch.arange(30) < lengths[:, None]
    for start, span in ((0.08, 10), (0.3, 1), (1e-9, 4)):
        got = spans(uniform, own, start, span)
        assert (got.numpy() == slow.spans(uniform.numpy(), own.numpy(), start, span)).all()
        assert got.any(1).all() and not (got & ~own).any()


def test_half_of_long_items_is_masked_at_the_papers_rates() -> None:
    """1 - (1 - p)^l of the tokens, p = 0.08 and l = 10: 0.566, but for the first l - 1, which fewer spans can reach."""
    uniform = torch.rand(2000, 400, generator=torch.Generator().manual_seed(0))
    covered = spans(uniform, torch.ones(2000, 400, dtype=torch.bool), 0.08, 10).float().mean()
    assert float(covered) == pytest.approx(np.mean([1 - 0.92 ** min(t + 1, 10) for t in range(400)]), abs=0.006)


def test_a_mask_depends_on_the_item_and_the_epoch_not_on_its_batch() -> None:
    net = encoder().eval()
    objective = made(net)
    with torch.no_grad():
        whole = [objective(net, batch(net, at=torch.tensor([i])))["total"] for i in (4, 2)]
        again = objective(net, batch(net, at=torch.tensor([2])))["total"]
        later = objective(net, batch(net, epoch=1, at=torch.tensor([2])))["total"]
    torch.testing.assert_close(whole[1], again)
    assert again != later


# Units


def test_mfcc_is_that_of_loops_and_padding_is_not_heard() -> None:
    mel, lengths = torch.randn(2, 14, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.tensor([9, 14])
    got = mfcc(mel, lengths, 4)
    for item, length in enumerate(lengths.tolist()):
        np.testing.assert_allclose(got[item, :length].numpy(), slow.mfcc(mel[item, :length].numpy(), 4), atol=1e-12)


def test_a_token_stands_for_the_mean_of_its_own_frames() -> None:
    h = torch.arange(10.0).view(1, 5, 2)
    own = torch.tensor([[True, True, True, False, False]])
    assert averaged(h, own, 3).tolist() == [[[1.0, 2.0], [4.0, 5.0], [0.0, 0.0]]]


def test_units_repeat_for_a_seed_and_tell_sounds_apart() -> None:
    net = encoder()
    assert torch.equal(made(net).centres, made(net).centres)
    time = torch.arange(1600) / 8000
    tones = torch.stack([torch.sin(2 * math.pi * f * time) for f in (300, 300, 2500)]) * 8000
    data = Items(tones.to(torch.int16), torch.full((3,), 1600), torch.arange(3), torch.full((3,), -1))
    torch.manual_seed(0)
    objective = MaskedUnits(net, clusters=4, source="mel")
    objective.prepare(net, data, None)
    x = net.frontend(data.data, data.lengths)
    with torch.no_grad():
        unit = objective.units(net, x, embedded(net, x))
    middle = unit[:, 3:8]
    assert torch.equal(middle[0], middle[1]) and not (middle[0] == middle[2]).any()


def test_a_teachers_layer_gives_the_units_of_a_second_iteration() -> None:
    net = encoder()
    teacher = encoder().eval().requires_grad_(False)
    objective = made(net, teacher, layer=0)
    assert objective.centres.shape == (6, 16)
    terms = objective(net, batch(net))
    terms["total"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert not {id(p) for _, p in objective.optimised(net)} & {id(p) for p in teacher.parameters()}
    other = encoder(Part("mel_transformer", {**NET, "stride": 1}))
    with pytest.raises(ContractError, match="21 tokens, the encoder 11"):
        made(net, other)


def test_mistakes_are_named() -> None:
    net = encoder()
    for wrong in ({"clusters": 1}, {"span": 0}, {"start": 0.0}, {"share": 1.5}, {"temperature": 0.0}):
        with pytest.raises(UserError, match="clusters is 2 or more"):
            MaskedUnits(net, **wrong)
    with pytest.raises(ContractError, match="frames make no 500 clusters"):
        made(net, clusters=500)
    with pytest.raises(ContractError, match="a backbone of tokens over a spectrogram"):
        MaskedUnits(encoder(Part("frames", {})))
    twice = batch(net)
    with pytest.raises(UserError, match="one view, not 2"):
        made(net)(net, Batch([twice.views[0]] * 2, twice.key, twice.index))
