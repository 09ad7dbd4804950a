"""Frames matched among references, against scikit-learn's neighbours and a loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from stages.common.errors import UserError
from stages.fit.core.voice.matching import matched, prematched
from stages.measures.core import neighbours


def frames(n: int, seed: int, d: int = 6) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d))).float()


@pytest.mark.parametrize("k", [1, 4, 7])
def test_it_is_the_mean_of_the_neighbours_that_scikit_learn_finds(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK", 100)  # several blocks of queries
    queries, references = frames(23, 0), frames(40, 1) * torch.rand(40, 1) * 5
    found = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(references.numpy())
    index = found.kneighbors(queries.numpy())[1]
    np.testing.assert_allclose(matched(queries, references, k=k).numpy(), references.numpy()[index].mean(1), atol=1e-5)


def test_the_mean_is_of_the_references_as_they_are_and_a_querys_length_does_not_matter() -> None:
    references = torch.tensor([[10.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert matched(torch.tensor([[0.1, 0.0]]), references, k=2).tolist() == [[6.0, 0.0]]
    queries = frames(9, 3)
    assert torch.equal(matched(queries, frames(20, 4)), matched(4 * queries, frames(20, 4)))


def test_references_are_their_own_nearest() -> None:
    references = frames(15, 5)
    torch.testing.assert_close(matched(references, references, k=1), references)


def test_a_training_frame_is_never_matched_within_its_own_utterance_nor_with_another_speaker() -> None:
    x = frames(60, 6)
    item = torch.arange(12).repeat_interleave(5)
    speaker = (item // 6)[torch.arange(60)]
    got = prematched(x, item, speaker, k=3).numpy()
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    for q in range(60):
        allowed = [n for n in range(60) if speaker[n] == speaker[q] and item[n] != item[q]]
        nearest = sorted(allowed, key=lambda n: -float(unit[n] @ unit[q]))[:3]
        np.testing.assert_allclose(got[q], x.numpy()[nearest].mean(0), atol=1e-5)


def test_too_few_references_are_named() -> None:
    with pytest.raises(UserError, match="k = 4 nearest of 3 reference frames"):
        matched(frames(2, 0), frames(3, 1))
    with pytest.raises(UserError, match="k = 4 nearest of 0 reference frames"):  # all are of one utterance
        prematched(frames(8, 0), torch.zeros(8, dtype=torch.int64), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(UserError, match="k = 0"):
        matched(frames(2, 0), frames(3, 1), k=0)
