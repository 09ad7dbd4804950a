from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core.encoder import Encoder, Frontend
from stages.encoders.core.inputs import Graph, Input, Padded
from stages.pretrain.core.items import Items
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.taga import TAGA, document, nodes, terms
from stages.views.core.base import Key
from tests.oracles import taga as slow

LENGTH, MOST, COUNT, VOCABULARY = 6, 4, 7, 19


class Packed(Frontend):
    """Items as stages/common/graphs.py packs them."""

    shape, vocabulary, channels = (MOST, LENGTH), VOCABULARY, 0  # type: ignore[assignment]
    contract: ClassVar[dict[str, Any]] = {"kind": "graph", "length": LENGTH, "tokenizer": "none"}

    def __call__(self, data: Tensor, lengths: Tensor | None = None) -> Input:
        assert lengths is not None
        adjacency, degree = data[..., LENGTH + 2 :].float(), data[..., LENGTH + 1].float()
        return Graph(data[..., :LENGTH].long(), data[..., LENGTH].long(), lengths, adjacency, degree)


class Texts(Frontend):
    shape, vocabulary, channels = (LENGTH,), VOCABULARY, 0  # type: ignore[assignment]
    contract: ClassVar[dict[str, Any]] = {"kind": "tokens", "length": LENGTH, "tokenizer": "none"}


def encoder(**arguments: Any) -> Encoder:
    torch.manual_seed(0)
    given = {"hidden": 8, "dim": 8, "depth": 1, "heads": 2, "layers": 1, "texts": "transformer"} | arguments
    return Encoder(Packed(), registry.make("backbone", Part("gcn", given), Packed()))


def teacher(dim: int = 8) -> Encoder:
    torch.manual_seed(1)
    arguments = {"dim": dim, "depth": 1, "heads": 2, "pool": "mean"}
    made = Encoder(Texts(), registry.make("backbone", Part("text_transformer", arguments), Texts()))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made.eval().requires_grad_(False)


def items() -> Items:
    draw = torch.Generator().manual_seed(2)
    data = torch.zeros(COUNT, MOST, LENGTH + 2 + MOST, dtype=torch.int32)
    count = torch.randint(1, MOST + 1, (COUNT,), generator=draw)
    for i, n in enumerate(count.tolist()):
        for j in range(n):
            length = int(torch.randint(2, LENGTH + 1, (), generator=draw))
            data[i, j, :length] = torch.randint(5, VOCABULARY, (length,), generator=draw, dtype=torch.int32)
            data[i, j, LENGTH], data[i, j, LENGTH + 1] = length, 3
        for j in range(1, n):
            data[i, 0, LENGTH + 2 + j] = data[i, j, LENGTH + 2] = 1
    side = {name: symbols(longest) for name, longest in (("text", 5), ("document_1", 15))}
    return Items(data, count, torch.arange(COUNT), torch.full((COUNT,), -1), side)


def symbols(longest: int) -> Tensor:
    draw = torch.Generator().manual_seed(longest)
    lengths = torch.randint(1, longest + 1, (COUNT, 1), generator=draw)
    found = torch.randint(1, VOCABULARY, (COUNT, longest), generator=draw, dtype=torch.int32)
    return found * (torch.arange(longest) < lengths)


def made(net: Encoder, **arguments: Any) -> TAGA:
    found: TAGA = registry.make("objective", Part("taga", {"documents": ("text", "document_1")} | arguments), net)
    return found


def batch(given: Items, net: Encoder, index: list[int]) -> Batch:
    chosen = given.at(torch.tensor(index))
    x = net.frontend(chosen.data, chosen.lengths)
    return Batch([x], Key(0, 0, chosen.rows), torch.tensor(index), chosen.side)


def test_the_terms_are_those_of_a_slow_reference() -> None:
    draw = np.random.default_rng(0)
    d, g = draw.normal(size=(5, 3)) * 7, draw.normal(size=(5, 3))
    got = terms(torch.tensor(d), torch.tensor(g))
    np.testing.assert_allclose([float(t) for t in got], slow.loss(d, g), rtol=1e-5)


def test_documents_that_all_nodes_share_leave_nothing_to_learn_and_lengths_do_not_count() -> None:
    d, g = torch.randn(1, 4).expand(6, 4), torch.randn(6, 4)
    positive, negative = terms(d, g)
    torch.testing.assert_close(positive + negative, torch.tensor(0.0), atol=1e-6, rtol=0)
    other = torch.randn(6, 4)
    torch.testing.assert_close(terms(3 * other, g * torch.rand(6, 1).add(1)), terms(other, g))


def test_the_best_vector_of_a_node_is_its_document_less_the_mean_of_the_others() -> None:
    """total is linear in the unit vector g_v: least at g_v parallel to d_v - mean_{u != v} d_u, and -mean_v of its length."""
    d = normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)), dim=1).double()
    best = d - (d.sum(0) - d) / 5
    g = best.clone().requires_grad_()
    total = sum(terms(d, g))
    assert isinstance(total, Tensor)
    total.backward()
    torch.testing.assert_close(total.detach(), -best.norm(dim=1).mean())
    assert g.grad is not None and g.grad.abs().max() < 1e-6
    assert float(sum(terms(d, d))) > float(total.detach())


def test_a_document_is_read_in_windows_weighed_by_their_symbols() -> None:
    language, given = teacher(), symbols(15)
    with torch.no_grad():
        got = document(language, given)
        for row, read in zip(given, got, strict=True):
            own = row[: int((row > 0).sum())].long()
            parts = [own[start : start + LENGTH] for start in range(0, len(own), LENGTH)]
            each = [language(Padded(p[None], torch.tensor([len(p)])))[0] * len(p) for p in parts]
            torch.testing.assert_close(read, torch.stack(each).sum(0) / len(own), rtol=1e-4, atol=1e-5)


def test_the_vectors_kept_of_nodes_are_those_that_the_backbone_reads() -> None:
    net, given = encoder(), items()
    objective = made(net)
    objective.prepare(net, given, teacher())
    x = net.frontend(given.data, given.lengths)
    assert isinstance(x, Graph)
    with torch.no_grad():
        torch.testing.assert_close(objective.vectors[objective.place], net.backbone.embed(x), rtol=1e-4, atol=1e-5)
        vectors, place = nodes(net, net.backbone, given)  # type: ignore[arg-type]
    assert len(vectors) == 1 + len(torch.unique(x.nodes[x.own()], dim=0)) and place.shape == (COUNT, MOST)


def test_the_loss_sums_the_orders_and_trains_the_graph_network_alone() -> None:
    net, given, language = encoder(), items(), teacher()
    objective = made(net)
    objective.prepare(net, given, language)
    index = [5, 0, 3, 2]
    found = objective(net, batch(given, net, index))
    chosen = given.at(torch.tensor(index))
    with torch.no_grad():
        x = net.frontend(chosen.data, chosen.lengths)
        orders = [h[:, 0].double().numpy() for h in net.hidden(x)]
        read = [document(language, chosen.side[name]).double().numpy() for name in ("text", "document_1")]
    expected = np.sum([slow.loss(d, g) for d, g in zip(read, orders, strict=True)], 0)
    np.testing.assert_allclose([float(found["positive"]), float(found["negative"])], expected, rtol=1e-4)
    np.testing.assert_allclose(float(found["total"].detach()), expected.sum(), rtol=1e-3, atol=1e-5)
    found["total"].backward()
    learns = {name for name, p in objective.optimised(net) if p.grad is not None and p.grad.abs().sum() > 0}
    assert learns == {f"encoder.backbone.{n}.{w}" for n in ("project", "convolutions.0") for w in ("weight", "bias")}
    assert learns == {name for name, _ in objective.optimised(net)}  # the language model's weights are not among them
    assert objective.state_dict() == {}


def test_what_does_not_fit_is_refused() -> None:
    net, given = encoder(), items()
    with pytest.raises(UserError, match="2 documents for the orders 0 to 2"):
        made(encoder(layers=2))
    with pytest.raises(UserError, match="no network of graphs"):
        made(teacher())
    with pytest.raises(UserError, match="no language model"):
        made(net).prepare(net, given, None)
    with pytest.raises(ContractError, match="documents have 4 numbers, nodes 8"):
        made(net).prepare(net, given, teacher(4))
    bag = encoder(texts="bag")
    with pytest.raises(ContractError, match="does not take the language model's weights"):
        made(bag).prepare(bag, given, teacher())
    with pytest.raises(UserError, match=r"no document 'walk_1' .*"):
        made(net, documents=("text", "walk_1")).prepare(net, given, teacher())
    objective = made(net)
    objective.prepare(net, given, teacher())
    with pytest.raises(UserError, match="a batch of one node"):
        objective(net, batch(given, net, [1]))
