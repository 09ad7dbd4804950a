"""The multi-similarity loss and its miner against loops over pairs and triples."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from stages.pretrain.objectives.sapbert import mined, multi_similarity, pairs
from tests.oracles import text as slow

ARGS = [(1.0, 60.0, 0.5), (2.0, 50.0, 1.0), (0.3, 4.0, 0.1)]


def batch(n: int = 14, concepts: int = 5, d: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Names around the points of their concepts, so that some triples are hard and others not."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(0, concepts, (n,), generator=draw)
    centres = torch.randn(concepts, d, generator=draw, dtype=torch.float64)
    return centres[label] + 0.6 * torch.randn(n, d, generator=draw, dtype=torch.float64), label


def listed(mask: Tensor) -> set[tuple[int, int]]:
    return {(int(a), int(b)) for a, b in mask.nonzero()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.0, 0.2, 0.7])
def test_the_miner_keeps_the_pairs_of_the_loop_over_triples(seed: int, margin: float) -> None:
    z, label = batch(seed=seed)
    kept = mined(z, *pairs(label), margin)
    positives, negatives = slow.mined(z.numpy(), label.tolist(), margin)
    assert (listed(kept[0]), listed(kept[1])) == (positives, negatives)
    every = slow.every_pair(label.tolist())
    assert positives and negatives and (margin > 0.2 or (positives < every[0] and negatives < every[1]))


@pytest.mark.parametrize(("alpha", "beta", "threshold"), ARGS)
@pytest.mark.parametrize("mining", [True, False])
def test_the_loss_is_that_of_the_loop_over_pairs(alpha: float, beta: float, threshold: float, mining: bool) -> None:
    z, label = batch()
    masks = mined(z, *pairs(label), 0.2) if mining else pairs(label)
    chosen = slow.mined(z.numpy(), label.tolist(), 0.2) if mining else slow.every_pair(label.tolist())
    expected = slow.multi_similarity(z.numpy(), *chosen, alpha, beta, threshold)
    assert float(multi_similarity(z, *masks, alpha=alpha, beta=beta, threshold=threshold)) == pytest.approx(expected, rel=1e-12)


def test_four_points_by_hand() -> None:
    """Two concepts, A at 0 and 60 degrees, B at 90 and 180: one triple is hard, that of the anchor at 60 degrees.

    Distances are 2 sin(angle / 2): 60 degrees 1, 90 degrees 1.4142, 30 degrees 0.5176, 120 degrees 1.7321, 180 degrees 2.
    Anchor 0: p 1.0, n 1.4142 and 2: not hard. Anchor 60: p 1.0, n 0.5176 (hard), 1.7321. Anchor 90: p 1.4142, n 0.5176 and
    1.4142: both within 1.6142. Anchor 180: p 1.4142, n 1.7321 (beyond 1.6142) and 2.
    """
    angles = torch.tensor([0.0, 60.0, 90.0, 180.0], dtype=torch.float64) * math.pi / 180
    z = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [3.0], [0.5], [2.0]])
    positive, negative = pairs(torch.tensor([0, 0, 1, 1]))
    kept = mined(z, positive, negative, 0.2)
    assert listed(kept[0]) == {(1, 0), (2, 3)}
    assert listed(kept[1]) == {(1, 2), (2, 0), (2, 1)}
    cosine = {30: math.sqrt(3) / 2, 60: 0.5, 90: 0.0}
    first = math.log(1 + math.exp(-(cosine[60] - 0.5))) + math.log(1 + math.exp(10 * (cosine[30] - 0.5))) / 10
    pushed = math.exp(10 * (cosine[90] - 0.5)) + math.exp(10 * (cosine[30] - 0.5))
    second = math.log(1 + math.exp(-(cosine[90] - 0.5))) + math.log(1 + pushed) / 10
    loss = float(multi_similarity(z, *kept, alpha=1.0, beta=10.0, threshold=0.5))
    assert loss == pytest.approx((first + second) / 4, rel=1e-12)


def test_names_of_one_concept_make_positives_and_an_unknown_concept_makes_none() -> None:
    positive, negative = pairs(torch.tensor([3, 3, 5, -1, -1]))
    assert listed(positive) == {(0, 1), (1, 0)}
    assert listed(negative) == {(0, 2), (2, 0), (1, 2), (2, 1)}


def test_a_batch_without_hard_triples_has_no_loss_and_no_gradient() -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.01], [-1.0, 0.0], [-1.0, 0.01]], requires_grad=True)
    masks = mined(z.detach(), *pairs(torch.tensor([0, 0, 1, 1])), 0.2)
    loss = multi_similarity(z, *masks, alpha=1.0, beta=60.0, threshold=0.5)
    loss.backward()
    assert loss.item() == 0 and z.grad is not None and not z.grad.any()


def test_neither_the_order_of_names_nor_their_lengths_nor_a_turn_matter() -> None:
    z, label = batch()
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(1))
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]

    def loss(z: Tensor, label: Tensor) -> Tensor:
        return multi_similarity(z, *mined(z, *pairs(label), 0.2), alpha=1.0, beta=60.0, threshold=0.5)

    for other in (loss(z[order], label[order]), loss(3 * z, label), loss(z @ turn, label), loss(z, 10 - label)):
        torch.testing.assert_close(other, loss(z, label))


def test_its_gradient_is_that_of_finite_differences() -> None:
    z, label = batch(6, 2)
    masks = pairs(label)
    assert torch.autograd.gradcheck(
        lambda v: multi_similarity(v, *masks, alpha=1.0, beta=5.0, threshold=0.5), (z.requires_grad_(),)
    )


def test_large_similarities_do_not_overflow() -> None:
    z = torch.ones(4, 3, requires_grad=True)
    loss = multi_similarity(z, *pairs(torch.tensor([0, 0, 1, 1])), alpha=1.0, beta=1e4, threshold=-1.0)
    loss.backward()
    assert torch.isfinite(loss) and z.grad is not None and torch.isfinite(z.grad).all()


def test_it_is_computed_in_float32_under_autocast() -> None:
    z, label = batch()
    half = z.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = multi_similarity(half, *mined(half, *pairs(label), 0.2), alpha=1.0, beta=60.0, threshold=0.5)
    whole = half.float()
    plain = multi_similarity(whole, *mined(whole, *pairs(label), 0.2), alpha=1.0, beta=60.0, threshold=0.5)
    assert mixed.dtype == torch.float32 and torch.equal(mixed, plain)
