"""Exact neighbours: against a sort of all cosines, over any blocks and tiles, with equals in a fixed order, in flat memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.measures.core import neighbours
from stages.measures.core.neighbours import knn_scores, nearest
from tests.measures.memory import peak_mb
from tests.measures.test_measures import normal
from tests.oracles import measures as oracle


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def of_few_values(n: int, seed: int) -> torch.Tensor:
    """(n, 4) of -1, 0 and 1, of length 2 or 1: cosines are exact, and most of them occur again and again."""
    kinds = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [0, 0, 0, 1], [0, 1, 0, 0]])
    return kinds[torch.randint(0, len(kinds), (n,), generator=torch.Generator().manual_seed(seed))]


def sorted_whole(bank: torch.Tensor, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """By a stable sort of every cosine."""
    unit = [torch.nn.functional.normalize(x.float(), dim=1) for x in (bank, queries)]
    value, index = (unit[1] @ unit[0].T).sort(dim=1, descending=True, stable=True)
    return value[:, :k], index[:, :k]


@pytest.mark.parametrize("draw", [of_few_values, lambda n, seed: normal(n, 24, seed=seed).float()])
@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize(("tile", "block"), [(1 << 16, 1 << 25), (700, 1 << 25), (1 << 16, 40_000), (33, 33 * 9)])
def test_it_is_a_stable_sort_of_all_cosines_over_any_tiles_and_blocks(
    draw: object, k: int, tile: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_TILE", tile)
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    bank, queries = draw(2500, 0), draw(40, 1)  # type: ignore[operator]
    value, index = nearest(bank, queries, k)
    expected = sorted_whole(bank, queries, k)
    torch.testing.assert_close(value, expected[0], atol=1e-6, rtol=0)
    assert torch.equal(index, expected[1])


def test_a_long_row_is_searched_by_groups_and_the_last_of_it_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    x = normal(6, 64 * 90 + 7).float()
    x[0, -1] = x[1, 63] = x[2, 64] = x[3, 64 * 90] = 9.0
    value, index = neighbours._largest(x, 3)
    assert index[:4, 0].tolist() == [64 * 90 + 6, 63, 64, 64 * 90]
    monkeypatch.setattr(neighbours, "_GROUP", 1 << 30)  # as one group: no search by groups
    plain = neighbours._largest(x, 3)
    assert torch.equal(value, plain[0]) and torch.equal(index, plain[1])


def test_of_equally_near_entries_the_first_is_taken_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = torch.tensor([[0.0, 1], [2, 0], [1, 0], [3, 0], [1, 1]])
    queries = torch.tensor([[5.0, 0], [0, 1], [1, 1.01]])
    whole = nearest(bank, queries, 4)[1]
    assert whole[0].tolist() == [1, 2, 3, 4] and whole[1, 0] == 0 and whole[2].tolist()[:2] == [4, 0]
    assert nearest(bank, queries, 2)[1][0].tolist() == [1, 2]  # the third of three equals is cut off
    monkeypatch.setattr(neighbours, "_BLOCK", 1)
    assert torch.equal(nearest(bank, queries, 4)[1], whole)
    assert nearest(bank, queries, 9)[1].shape == (3, 5)


def test_rows_of_a_querys_own_number_come_last() -> None:
    bank = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [1, 0.1]])
    value, index = nearest(bank, bank[:1], 4, apart=(torch.tensor([7]), torch.tensor([7, 1, 1, 7])))
    assert index[0].tolist() == [1, 2, 0, 3]
    assert value[0, 2:].tolist() == [-2.0, -2.0]


def test_memory_beside_the_rows_is_a_tile_and_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries = torch.randn(20_000, 64), torch.randn(1_000, 64)  # 5 MB and 0.3 MB; all similarities: 80 MB
    monkeypatch.setattr(neighbours, "_TILE", 4096)  # of 1 MB
    monkeypatch.setattr(neighbours, "_BLOCK", 1 << 20)  # of 4 MB
    assert peak_mb(lambda: nearest(bank, queries, 10)) < 12
    assert peak_mb(lambda: sorted_whole(bank, queries, 10)) > 80  # what is held is counted


def test_neighbours_vote_as_the_definition_says() -> None:
    bank, queries = normal(40, 6), normal(9, 6, seed=1)
    labels = torch.arange(40) % 3
    expected = oracle.knn_scores(bank.numpy(), labels.tolist(), queries.numpy(), 7, 4, 0.1)
    for block in (4096, 2):
        found = knn_scores(bank, labels, queries, k=7, classes=4, temperature=0.1, block=block)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_neighbours_are_all_asked_where_there_are_fewer_than_k_and_a_cold_vote_does_not_overflow() -> None:
    found = knn_scores(normal(3, 4), torch.tensor([0, 1, 1]), normal(2, 4, seed=1), k=20, classes=2, temperature=1e-4)
    assert torch.allclose(found.sum(1), torch.ones(2))
    assert set(found.flatten().tolist()) == {0.0, 1.0}


def test_no_queries_give_no_scores() -> None:
    assert knn_scores(normal(3, 4), torch.tensor([0, 1, 1]), normal(0, 4), k=1, classes=2).shape == (0, 2)
