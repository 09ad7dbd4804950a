"""Objectives of event sequences: what they ask for, what they leave alone, that the decoder sees no future."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from stages.common import registry
from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder, new
from stages.encoders.core.inputs import Padded
from stages.pretrain.core.event_decoder import EventDecoder
from stages.pretrain.core.items import Items
from stages.pretrain.core.objective import Batch, Objective
from stages.views.core.base import Key
from tests.oracles import events as slow

B, T = 6, 16
DECODER = {"dim": 8, "depth": 1, "heads": 2}


def encoder(seed: int = 0, dim: int = 8, codes: str = "abcde") -> Encoder:
    torch.manual_seed(seed)
    column = Column("events", "media", "events", classes=list(codes))
    return new(Part("events", {"length": T}), Part("event_gru", {"dim": dim, "code_dim": 4}), column, Path())


def media() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([16, 12, 8, 16, 5, 1])
    own = (torch.arange(T) < lengths[:, None]).float()
    code = torch.randint(1, 7, (B, T), generator=generator) * own
    value = torch.randn(B, T, generator=generator) * own
    return torch.stack([torch.rand(B, T, generator=generator) * own, code, value], -1), lengths


def batch(net: Encoder, part: str = "none", **arguments: Any) -> Batch:
    data, lengths = media()
    key = Key(0, 0, torch.arange(B))
    made = registry.make("views", Part(part, arguments), net.frontend)
    return Batch(made(data, lengths, key), key, torch.arange(B))


def make(name: str, net: Encoder, **arguments: Any) -> Objective:
    torch.manual_seed(1)
    found: Objective = registry.make("objective", Part(name, arguments), net)
    return found


def items() -> Items:
    data, lengths = media()
    return Items(data, lengths, torch.arange(B), torch.full((B,), -1))


def test_coles_compares_the_views_of_one_sequence_with_those_of_others() -> None:
    net = encoder()
    given = batch(net, "subsequence", views=3, shortest=2, longest=6)
    terms = make("coles", net, margin=0.9, negatives=4)(net, given)
    h = torch.cat([net(v) for v in given.views]).detach().numpy()
    expected = slow.margin_contrastive(h, list(range(B)) * 3, 0.9, 4)
    assert [float(terms[k].detach()) for k in ("attract", "repel", "total")] == pytest.approx(expected, rel=1e-4)


def test_the_naive_sum_adds_the_reconstruction_of_the_first_view() -> None:
    net = encoder()
    given = batch(net, "subsequence", views=2, shortest=2, longest=6)
    made = make("coles", net, reconstruct=0.5, **DECODER)
    terms = made(net, given)
    losses = made.decoder.losses(net(given.views[0]), given.views[0])
    torch.testing.assert_close(terms["reconstruction"], sum(losses.values()))
    torch.testing.assert_close(terms["total"], terms["contrast"] + 0.5 * terms["reconstruction"])
    assert make("coles", net).decoder is None


def test_the_decoder_foretells_an_event_from_the_vector_and_what_came_before() -> None:
    net = encoder()
    torch.manual_seed(0)
    decoder = EventDecoder(net, **DECODER)
    data, lengths = media()
    x = net.frontend(data, lengths).x
    h = net(Padded(x, lengths))
    base = decoder(h, x)
    later = x.clone()
    later[:, 1, 5], later[:, 2, 5] = 6, 9.0
    for a, b in zip(base, decoder(h, later), strict=True):
        torch.testing.assert_close(a[:, :6], b[:, :6])  # event 5 is foretold before it is seen
        assert not torch.allclose(a[:, 6:], b[:, 6:])
    moved = decoder(h + 1, x)
    assert not torch.allclose(base[0][:, 0], moved[0][:, 0]) and not torch.allclose(base[0][:, -1], moved[0][:, -1])


def test_reconstruction_weighs_its_terms_and_reaches_the_encoder() -> None:
    net = encoder()
    terms = make("event_reconstruction", net, code=0.5, value=2.0, since=0.0, **DECODER)(net, batch(net))
    torch.testing.assert_close(terms["total"], 0.5 * terms["code"] + 2 * terms["value"])
    terms["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_mlem_aligns_to_a_teacher_that_stays_as_it_is() -> None:
    net, teacher = encoder(), encoder(seed=9)
    made = make("mlem", net, align=2.0, reconstruct=0.5, **DECODER)
    made.prepare(net, items(), teacher)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    given = batch(net)
    made.train()
    terms = made(net, given)
    x = given.views[0]
    expected = slow.siglip(net(x).detach().numpy(), teacher(x).detach().numpy(), 10.0, -10.0)
    assert float(terms["align"].detach()) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(terms["total"], 2 * terms["align"] + 0.5 * terms["reconstruction"])
    names = [name for name, _ in made.optimised(net)]
    assert not any("teacher" in name for name in names) and {"objective.scale", "objective.bias"} <= set(names)
    terms["total"].backward()
    torch.optim.SGD([p for _, p in made.optimised(net)], 0.1).step()
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items()) and not teacher.training
    assert made.exported(net) is net


def test_mlem_says_what_its_node_lacks() -> None:
    net = encoder()
    for teacher, says in (
        (None, "no encoder to align to"),
        (encoder(dim=4), "another width"),
        (encoder(codes="ab"), "other events"),
    ):
        with pytest.raises(UserError, match=says):
            make("mlem", net, **DECODER).prepare(net, items(), teacher)
    with pytest.raises(UserError, match="no encoder to align to"):
        make("mlem", net, **DECODER)(net, batch(net))


def test_wrong_input_is_refused() -> None:
    net = encoder()
    with pytest.raises(UserError, match="compares views"):
        make("coles", net)(net, batch(net))
    one = batch(net, "subsequence", views=2)
    single = Batch([Padded(v.x[:1], v.lengths[:1]) for v in one.views], one.key, one.index[:1])
    with pytest.raises(UserError, match="no other to repel"):
        make("coles", net)(net, single)
    with pytest.raises(ContractError, match="no lengths"):
        make("event_reconstruction", net, **DECODER)(net, Batch([torch.zeros(2, 4, T)], one.key, one.index[:2]))
    for name, wrong in (
        ("coles", {"margin": 0.0}),
        ("coles", {"negatives": 0}),
        ("event_reconstruction", {"code": -1.0}),
        ("event_reconstruction", {"dim": 9}),
        ("mlem", {"align": -1.0}),
        ("mlem", {"temperature": 0.0}),
    ):
        with pytest.raises(UserError):
            make(name, net, **wrong)
