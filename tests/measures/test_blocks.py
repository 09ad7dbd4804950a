"""Measures of more rows than are turned to float64 at once: the same values, in flat memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from stages.measures.alignment import alignment
from stages.measures.alpha_req import alpha_req
from stages.measures.cka import cka
from stages.measures.core import blocks
from stages.measures.lidar import lidar
from stages.measures.pca95 import pca95
from stages.measures.rankme import rankme
from stages.measures.uniformity import uniformity
from tests.measures.memory import peak_mb
from tests.measures.test_measures import normal, rotation


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def digits() -> torch.Tensor:
    return torch.from_numpy(load_digits().data.astype(np.float32))


KINDS: dict[str, Callable[[], torch.Tensor]] = {
    "normal": lambda: normal(900, 40),
    "real": digits,  # three of its columns are constant
    "projected": lambda: torch.relu(digits() @ normal(64, 200).float()),
    "rank 3": lambda: normal(900, 3) @ normal(3, 40, seed=1),
    "float32 of rank 1": lambda: (normal(900, 1) * normal(1, 40, seed=1)).float(),
    "condition 1e12": lambda: normal(900, 40) @ (rotation(40) * torch.logspace(0, -12, 40, dtype=torch.float64)),
    "far off": lambda: normal(900, 40) + 1e4,
    "wide": lambda: normal(50, 700) * torch.logspace(0, -6, 700, dtype=torch.float64),
    "zero": lambda: torch.zeros(900, 40),
}


@pytest.fixture
def many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_WHOLE", 0)
    monkeypatch.setattr(blocks, "_BLOCK", 2_500)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("centred", [False, True])
def test_singular_values_by_blocks_are_those_of_all_rows(kind: str, centred: bool, many_blocks: None) -> None:
    x = KINDS[kind]().double()
    direct = torch.linalg.svdvals(x - x.mean(0) if centred else x)
    found = blocks.singular_values(x, centred=centred)
    assert found.shape == direct.shape
    largest = float(torch.linalg.svdvals(x)[0])
    torch.testing.assert_close(found, direct, atol=200 * torch.finfo(torch.float64).eps * largest, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_rankme_by_blocks_is_that_of_all_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = KINDS[kind]()
    whole = rankme(x), alpha_req(x), pca95(x)
    monkeypatch.setattr(blocks, "_WHOLE", 0)
    monkeypatch.setattr(blocks, "_BLOCK", 2_500)
    assert (rankme(x), alpha_req(x), pca95(x)) == pytest.approx(whole, rel=1e-9, nan_ok=True)


def test_eigenvalues_of_second_moments_would_not_do() -> None:
    """Why singular values are not had from x'x: of a matrix of rank 3 they leave noise that RankMe's epsilon shows."""
    x = KINDS["rank 3"]()
    squared = torch.linalg.eigvalsh(x.T @ x).clamp_min(0).sqrt().flip(0)
    direct = torch.linalg.svdvals(x)
    assert float(squared[3:].max() / squared[0]) > 1e-9 > 1e-14 > float(direct[3:].max() / direct[0])


def test_the_other_measures_by_blocks_are_those_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    x, views = KINDS["projected"](), normal(300, 1, 8) + 0.3 * normal(300, 4, 8, seed=1)
    pair = x[:, :30].contiguous(), x[:, 20:90].contiguous() + 3
    whole = lidar(views), alignment(views), uniformity(x), cka(*pair)
    monkeypatch.setattr(blocks, "_WHOLE", 0)
    monkeypatch.setattr(blocks, "_BLOCK", 700)
    assert (lidar(views), alignment(views), uniformity(x), cka(*pair)) == pytest.approx(whole, rel=1e-10)


@pytest.mark.parametrize("measure", [rankme, alpha_req, pca95, lambda x: cka(x, x), lidar, alignment])
def test_memory_beside_the_rows_is_a_few_blocks(
    measure: Callable[[torch.Tensor], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_WHOLE", 1 << 16)
    monkeypatch.setattr(blocks, "_BLOCK", 1 << 16)  # 0.5 MB in float64
    x = torch.randn(200_000, 16)  # 26 MB in float64
    if measure in (lidar, alignment):
        x = x.view(50_000, 4, 16)
    assert peak_mb(lambda: measure(x)) < 6
    if measure is not alpha_req:
        return
    monkeypatch.setattr(blocks, "_WHOLE", 1 << 26)
    assert peak_mb(lambda: measure(x)) > 26  # what is held is counted


def test_uniformity_holds_one_more_copy_of_the_rows_and_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_WHOLE", 1 << 16)
    monkeypatch.setattr(blocks, "_BLOCK", 1 << 16)
    monkeypatch.setattr("stages.measures.uniformity._BLOCK", 1 << 18)
    x = torch.randn(3_000, 500)  # 6 MB
    assert 6 <= peak_mb(lambda: uniformity(x)) < 12
