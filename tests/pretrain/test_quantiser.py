"""The Gumbel quantiser: what it chooses, what it lets through, how evenly it is used."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stages.pretrain.core.quantiser import GumbelQuantiser, choose, diversity, gumbel, perplexity, usage
from stages.views.core import random
from tests.oracles import wav2vec2 as slow


def test_entries_are_drawn_as_often_as_softmax_says() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    noise = gumbel(random.uniform(random.stream(0, torch.arange(40_000)), 4))
    codes = choose(logits.expand(40_000, 4), noise, 1.0)[1]
    found = torch.bincount(codes, minlength=4) / 40_000
    np.testing.assert_allclose(found, slow.softmax(logits.double().numpy()), atol=0.01)


def test_noise_has_gumbels_mean_and_variance_and_is_finite_at_the_ends() -> None:
    noise = gumbel(random.uniform(random.stream(3), 200_000))
    assert float(noise.mean()) == pytest.approx(np.euler_gamma, abs=0.01)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, abs=0.03)
    assert torch.isfinite(gumbel(torch.tensor([0.0, 1 - 2.0**-24]))).all()


def test_the_choice_is_hard_and_its_gradient_is_that_of_the_softmax() -> None:
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    noise, weight = torch.randn(5, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    hard, codes = choose(logits, noise, 0.7)
    torch.testing.assert_close(hard, torch.eye(4, dtype=torch.float64)[codes])
    (gradient,) = torch.autograd.grad((hard @ weight).sum(), logits)
    soft = ((logits + noise) / 0.7).softmax(-1)
    (expected,) = torch.autograd.grad((soft @ weight).sum(), logits)
    torch.testing.assert_close(gradient, expected)
    assert torch.equal(choose(logits, None, 0.7)[1], logits.argmax(-1))


def test_a_quantised_latent_is_its_entries_side_by_side() -> None:
    torch.manual_seed(0)
    net = GumbelQuantiser(3, groups=2, entries=5, dim=8)
    z = torch.randn(2, 4, 3)
    q, codes, logits = net(z, None, 1.0)
    assert q.shape == (2, 4, 8) and codes.shape == (2, 4, 2) and logits.shape == (2, 4, 2, 5)
    for b in range(2):
        for t in range(4):
            sides = [net.codebooks[g, codes[b, t, g]] for g in range(2)]
            torch.testing.assert_close(q[b, t], torch.cat(sides))
            first = net.logits.weight[:5] @ z[b, t] + net.logits.bias[:5]
            assert int(codes[b, t, 0]) == int(first.argmax())


@pytest.mark.parametrize("form", ["perplexity", "entropy"])
def test_diversity_equals_plain_loops_and_is_least_where_use_is_even(form: str) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(7, 2, 5, dtype=torch.float64)
    share = usage(logits, torch.ones(7, dtype=torch.bool)) / 7
    soft = np.array([[slow.softmax(g) for g in row] for row in logits.numpy()])
    assert float(diversity(share, form=form)) == pytest.approx(slow.diversity(soft, form), rel=1e-9)  # type: ignore[arg-type]
    even, one = torch.full((2, 5), 0.2), torch.eye(5)[:2]
    low, high = (-math.log(5) / 5, 0.0) if form == "entropy" else (0.0, 1 - 2 / 10)
    assert float(diversity(even, form=form)) == pytest.approx(low, abs=1e-6)  # type: ignore[arg-type]
    assert float(diversity(one, form=form)) == pytest.approx(high, abs=1e-6)  # type: ignore[arg-type]
    assert low < float(diversity(share, form=form)) < high  # type: ignore[arg-type]


def test_perplexity_goes_from_the_number_of_codebooks_to_that_of_entries() -> None:
    assert float(perplexity(torch.eye(5)[:2])) == pytest.approx(2)
    assert float(perplexity(torch.full((2, 5), 0.2))) == pytest.approx(10)


def test_use_is_counted_where_asked() -> None:
    logits = torch.randn(3, 4, 2, 5)
    own = torch.rand(3, 4) < 0.5
    torch.testing.assert_close(usage(logits, own), logits.softmax(-1)[own].sum(0))
