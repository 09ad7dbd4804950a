from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stages.common import registry
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.backbones.gcn import GCN, alike, normalised
from stages.encoders.backbones.gcn import weights as odd_numbers
from stages.encoders.core.inputs import Graph, Padded
from stages.ingest.core.ego import ego
from tests.networks import network
from tests.oracles import taga as slow

SMALL = {"hidden": 6, "dim": 8, "depth": 2, "heads": 2}
VOCABULARY, LENGTH = 17, 5


def make(nodes: int, **arguments: Any) -> GCN:
    torch.manual_seed(0)
    frontend = SimpleNamespace(shape=(nodes, LENGTH), vocabulary=VOCABULARY)
    made: GCN = registry.make("backbone", Part("gcn", SMALL | arguments), frontend)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def texts(count: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.randint(2, LENGTH + 1, (count,), generator=torch.Generator().manual_seed(seed))
    symbols = torch.randint(5, VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(seed + 1))
    symbols[torch.arange(LENGTH) >= lengths[:, None]] = 0
    return symbols, lengths


def graphs(neighbours: list[set[int]], hops: int, most: int) -> Graph:
    """The ego graphs of all nodes as a front end gives them."""
    symbols, lengths = texts(len(neighbours))
    found = [ego(neighbours, i, hops, most) for i in range(len(neighbours))]
    x = Graph(
        torch.zeros(len(found), most, LENGTH, dtype=torch.int64),
        torch.zeros(len(found), most, dtype=torch.int64),
        torch.tensor([len(e.nodes) for e in found]),
        torch.zeros(len(found), most, most),
        torch.zeros(len(found), most),
    )
    for i, e in enumerate(found):
        x.nodes[i, : len(e.nodes)], x.lengths[i, : len(e.nodes)] = symbols[e.nodes], lengths[e.nodes]
        x.degree[i, : len(e.nodes)] = torch.tensor([len(neighbours[n]) for n in e.nodes], dtype=torch.float32)
        for a, b in e.edges:
            x.adjacency[i, a, b] = x.adjacency[i, b, a] = 1
    return x


def weights(net: GCN) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_on_whole_ego_graphs_it_is_the_network_over_the_whole_graph(layers: int) -> None:
    neighbours = network()
    x, net = graphs(neighbours, hops=layers, most=14), make(14, layers=layers)
    vectors = net.embed(x)
    own = vectors[:, 0].detach().double().numpy()
    expected = slow.gcn(own, slow.adjacency(neighbours), weights(net), layers)
    with torch.inference_mode():
        found = net.convolve(vectors, x)
        assert len(found) == len(net.hidden(x)) == layers + 1
        for got, hidden, wanted in zip(found, net.hidden(x), expected, strict=True):
            np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-5)
            assert torch.equal(hidden, got.unsqueeze(1))
        assert torch.equal(net(x), found[-1])


def test_a_cut_ego_graph_differs_from_the_whole_graph_only_where_neighbours_were_cut() -> None:
    neighbours = network()
    whole, cut, net = graphs(neighbours, 2, 14), graphs(neighbours, 2, 4), make(14)
    kept = torch.tensor([len(ego(neighbours, i, 2, 14).nodes) <= 4 for i in range(14)])
    with torch.inference_mode():
        apart = (net(whole) - net(cut)).abs().amax(1)
    assert apart[kept].max() < 1e-5 < 1e-3 < apart[~kept].min()
    assert kept.any() and (~kept).any()


def test_an_isolated_node_keeps_its_own_vector() -> None:
    neighbours = network()
    assert neighbours[13] == set()
    x, net = graphs(neighbours, 2, 14), make(14)
    w = weights(net)
    with torch.inference_mode():
        h = net.embed(x)[13, 0].double().numpy()
        expected = w["project.weight"] @ h + w["project.bias"]
        for k in range(2):
            expected = w[f"convolutions.{k}.weight"] @ np.maximum(expected, 0) + w[f"convolutions.{k}.bias"]
        np.testing.assert_allclose(net(x)[13].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_what_stands_beyond_a_graphs_nodes_changes_nothing() -> None:
    x, net = graphs(network(), 2, 14), make(14, readout="mean")
    other = Graph(
        torch.where(x.own().unsqueeze(2), x.nodes, 7),
        torch.where(x.own(), x.lengths, 3),
        x.count,
        torch.where((x.own().unsqueeze(1) & x.own().unsqueeze(2)), x.adjacency, 1.0),
        torch.where(x.own(), x.degree, 9.0),
    )
    with torch.inference_mode():
        torch.testing.assert_close(net(other), net(x))


def test_the_normalised_adjacency_has_the_root_of_degrees_as_its_fixed_vector() -> None:
    """D^-1/2 (A + I) D^-1/2 D^1/2 1 = D^1/2 1, for a graph that was not cut from a larger one."""
    x = graphs(network(), 14, 14)
    a, root = normalised(x), ((x.degree + 1) * x.own()).sqrt()
    torch.testing.assert_close((a @ root.unsqueeze(2)).squeeze(2), root * x.own())


def test_the_mean_readout_is_over_the_nodes_of_a_graph() -> None:
    neighbours = network()
    x, net = graphs(neighbours, 14, 14), make(14, readout="mean")
    with torch.inference_mode():
        got, vectors = net(x), net.embed(x)
    for i in range(14):
        n = int(x.count[i])
        expected = slow.gcn(vectors[i, :n].double().numpy(), x.adjacency[i, :n, :n].numpy(), weights(net), 2)[-1].mean(0)
        np.testing.assert_allclose(got[i].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_bag_is_the_mean_of_ordinary_symbols_and_nothing_for_a_text_without() -> None:
    net = make(14)
    symbols = torch.tensor([[2, 6, 6, 9, 3], [2, 1, 4, 3, 0]])
    table = net.texts.symbols.weight
    got = net.texts(symbols, torch.tensor([5, 4]))
    torch.testing.assert_close(got[0], (2 * table[6] + table[9]) / 3)
    assert not got[1].any()


def test_its_transformer_is_the_text_transformer_whose_weights_it_takes() -> None:
    net, frontend = make(14, texts="transformer"), SimpleNamespace(shape=(LENGTH,), vocabulary=VOCABULARY)
    arguments = {"dim": 8, "depth": 2, "heads": 2, "pool": "mean"}
    language = registry.make("backbone", Part("text_transformer", arguments), frontend).eval()
    for parameter in language.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    net.texts.load_state_dict(language.state_dict())
    symbols, lengths = texts(300)
    with torch.inference_mode():
        torch.testing.assert_close(net.texts(symbols, lengths), language(Padded(symbols, lengths)), rtol=1e-4, atol=1e-5)


def test_equal_texts_are_read_once() -> None:
    x, net = graphs(network(), 2, 14), make(14)
    read: list[int] = []
    net.texts.register_forward_pre_hook(lambda _, given: read.append(len(given[0])))
    net.embed(x)
    assert read == [len(torch.unique(x.nodes[x.own()], dim=0))]


def test_distinct_rows_are_found_and_told_apart_even_where_their_sums_meet() -> None:
    rows = torch.tensor([[3, 1], [2, 2], [3, 1], [0, 5]])
    first, inverse = alike(rows)
    assert len(first) == 3 and torch.equal(rows[first][inverse], rows)
    one, other = odd_numbers(2).tolist()
    meeting = torch.tensor([[other, 0], [0, one], [other, 0]])
    assert len((meeting * odd_numbers(2)).sum(1).unique()) == 1
    first, inverse = alike(meeting)
    assert len(first) == 2 and torch.equal(meeting[first][inverse], meeting)


def test_every_weight_learns() -> None:
    for kind in ("bag", "transformer"):
        net = make(14, texts=kind)
        net(graphs(network(), 2, 14)).square().sum().backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_arguments_and_front_ends_that_do_not_fit_are_refused() -> None:
    for wrong in ({"layers": -1}, {"hidden": 0}, {"texts": "transformer", "heads": 3}):
        with pytest.raises(UserError, match="1 or more"):
            make(14, **wrong)
    for wrong in ({"table": 16}, {"positions": 4}):
        with pytest.raises(ContractError, match="17 symbols and texts of 5 have embeddings of"):
            make(14, **wrong)
    for shape, vocabulary in (((5,), 9), ((4, 5), 0)):
        with pytest.raises(ContractError, match="takes nodes of symbols"):
            registry.make("backbone", Part("gcn"), SimpleNamespace(shape=shape, vocabulary=vocabulary))
