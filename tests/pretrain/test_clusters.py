"""k-means against loops, and what its starts and empty centres do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.pretrain.core import clusters
from stages.pretrain.core.clusters import k_means, nearest, spread
from tests.oracles import masked_units as slow


def blobs(count: int = 4, rows: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    centres = 20 * torch.randn(count, 5, generator=draw)
    return (centres.repeat(rows, 1) + torch.randn(count * rows, 5, generator=draw)).double(), centres.double()


def test_it_is_lloyds_algorithm_from_its_starts() -> None:
    x, _ = blobs(6)
    torch.manual_seed(3)
    starts = spread(x, 5)
    torch.manual_seed(3)
    found = k_means(x, 5, rounds=4)
    np.testing.assert_allclose(found.numpy(), slow.lloyd(x.numpy(), starts.numpy(), 4), rtol=1e-9)


def test_groups_far_apart_are_found_from_any_seed() -> None:
    x, centres = blobs()
    for seed in range(5):
        torch.manual_seed(seed)
        found = k_means(x, 4)
        _, squared = nearest(centres, found)
        assert squared.max() < 1.0


def test_equal_generators_give_equal_centres_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = blobs()
    torch.manual_seed(1)
    first = k_means(x, 7)
    monkeypatch.setattr(clusters, "_BLOCK", 13)
    torch.manual_seed(1)
    torch.testing.assert_close(k_means(x, 7), first)


def test_starts_are_rows_apart_from_each_other_and_an_empty_centre_stays() -> None:
    x = torch.tensor([[0.0], [0.0], [0.0], [9.0]]).double()
    torch.manual_seed(0)
    assert sorted(spread(x, 2).flatten().tolist()) == [0.0, 9.0]
    found = k_means(x, 3).flatten().tolist()  # of two equal centres the first takes all rows
    assert set(found) == {0.0, 9.0} and len(found) == 3
