"""wav2vec 2.0's loss against transformers' on the same weights, masks and distractors, its terms against plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.common import registry
from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Padded, Tokens
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.wav2vec2 import Draws, contrastive, mean_square
from stages.views.core.base import Key
from tests.oracles import wav2vec2 as slow
from tests.peers.wav2vec2 import SMALL, config, copied

SAMPLES = 1600
COLUMN = Column("audio", "media", "waveform", rate=8000)
SMALLER: dict[str, Any] = {
    "span": 4,
    "probability": 0.1,
    "distractors": 5,
    "entries": 6,
    "code_dim": 8,
    "final_dim": 4,
    "dropout": 0,
}


def network(name: str = "wav2vec2", **arguments: Any) -> Encoder:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return encoders.new(Part("waveform", {"samples": SAMPLES}), Part(name, arguments or SMALL), COLUMN, Path()).train()


def objective(net: Encoder, **arguments: Any) -> Any:
    torch.manual_seed(1)
    return registry.make("objective", Part("wav2vec2", SMALLER | arguments), net).train()


def batch(*lengths: int, seed: int = 0, epoch: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(len(lengths), 1, SAMPLES, generator=generator)
    own = torch.tensor(lengths)
    x = x * (torch.arange(SAMPLES) < own[:, None, None])
    index = torch.arange(len(lengths))
    return Batch([Padded(x, own)], Key(seed, epoch, index + 7), index)


def drawn(net: Encoder, made: Any, given: Batch) -> tuple[Tokens, Draws]:
    latents = net.backbone.latents(net.prepared(given.views[0]))  # type: ignore[operator]
    return latents, made.draw(latents.own, given)


@pytest.mark.parametrize("noisy", [True, False])
def test_loss_perplexity_and_gradients_are_those_of_transformers(monkeypatch: pytest.MonkeyPatch, noisy: bool) -> None:
    from transformers import Wav2Vec2ForPreTraining

    net = network()
    made = objective(net, gradient_scale=1.0, penalty_weight=0.0, diversity_weight=0.3)
    given = batch(SAMPLES, SAMPLES)
    latents, draws = drawn(net, made, given)
    if not noisy:
        draws = Draws(draws.hidden, draws.place, draws.real, draws.other, torch.zeros_like(draws.noise))  # type: ignore[arg-type]
    codes = {"num_codevectors_per_group": 6, "codevector_dim": 8, "proj_codevector_dim": 4}
    peer = Wav2Vec2ForPreTraining(config(**codes, num_negatives=5, diversity_loss_weight=0.3)).train()
    copied(net.backbone, peer.wav2vec2)
    with torch.no_grad():
        peer.quantizer.weight_proj.load_state_dict(made.quantiser.logits.state_dict())
        peer.quantizer.codevectors.copy_(made.quantiser.codebooks.reshape(1, 12, 4))
        peer.project_q.load_state_dict(made.target.state_dict())
        peer.project_hid.load_state_dict(made.context.state_dict())
    n, rows = draws.hidden.shape[1], torch.arange(2)
    noise = torch.zeros(2, n, 2, 6)
    negatives = torch.zeros(2, n, 5, dtype=torch.int64)
    for b in range(2):
        for i in range(int(draws.real[b].sum())):
            noise[b, draws.place[b, i]] = draws.noise[b, i]  # type: ignore[index]
            negatives[b, draws.place[b, i]] = draws.place[b, draws.other[b, i]] + n * rows[b]

    def gumbel_softmax(logits: Tensor, tau: float, hard: bool) -> Tensor:
        soft = ((logits + noise.view(-1, 6)) / tau).softmax(-1)
        return nn.functional.one_hot(soft.argmax(-1), 6) - soft.detach() + soft

    monkeypatch.setattr(nn.functional, "gumbel_softmax", gumbel_softmax)
    theirs = peer(net.prepared(given.views[0]).x[:, 0], mask_time_indices=draws.hidden, sampled_negative_indices=negatives)
    ours = made.terms(net, latents, draws)
    count = draws.real.sum()
    torch.testing.assert_close(ours["total"] * count, theirs.loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours["contrastive"] * count, theirs.contrastive_loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours["prob_perplexity"], theirs.codevector_perplexity, rtol=1e-4, atol=1e-4)
    (ours["total"] * count).backward()
    theirs.loss.backward()
    pairs = {
        net.backbone.convolutions[0].weight: peer.wav2vec2.feature_extractor.conv_layers[0].conv.weight,  # type: ignore[index, union-attr]
        net.backbone.mask: peer.wav2vec2.masked_spec_embed,
        made.quantiser.logits.weight: peer.quantizer.weight_proj.weight,
        made.context.weight: peer.project_hid.weight,
    }
    for mine, its in pairs.items():
        torch.testing.assert_close(mine.grad, its.grad, rtol=1e-3, atol=1e-4)


def test_each_term_equals_plain_loops() -> None:
    net = network()
    made = objective(net)
    latents, draws = drawn(net, made, batch(SAMPLES, 900, 1300))
    found = made.terms(net, latents, draws)
    normed = net.backbone.feature_norm(latents.h)  # type: ignore[operator]
    hidden = net.backbone.hide(Tokens(net.backbone.project(normed), latents.own), draws.hidden)  # type: ignore[operator]
    c = made.context(net.backbone.encode(hidden)[-1]).detach().double().numpy()  # type: ignore[operator]
    losses, soft, chosen = [], [], []
    for b in range(3):
        places = draws.place[b][draws.real[b]]
        q, codes, logits = made.quantiser(normed[b, places], draws.noise[b, : len(places)], 2.0)  # type: ignore[index]
        q = made.target(q).detach().double().numpy()
        soft += [[slow.softmax(g) for g in row] for row in logits.detach().double().numpy()]
        chosen += codes.tolist()
        for t in range(len(places)):
            same = {j for j in range(len(places)) if codes[j].tolist() == codes[t].tolist()}
            losses.append(slow.contrastive(c[b][places], q, draws.other[b, t].tolist(), t, 0.1, same))
    assert found["contrastive"].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["diversity"].item() == pytest.approx(slow.diversity(np.array(soft), "perplexity"), rel=1e-4)
    assert float(found["prob_perplexity"]) == pytest.approx(np.exp(slow.entropies(np.array(soft))).sum(), rel=1e-4)
    hot = np.eye(6)[np.array(chosen)]
    assert float(found["code_perplexity"]) == pytest.approx(np.exp(slow.entropies(hot)).sum(), rel=1e-4)
    assert float(found["dead"]) == pytest.approx((hot.sum(0) == 0).mean())
    squares = [float(v) ** 2 for b in range(3) for v in latents.h[b][latents.own[b]].detach().flatten()]  # type: ignore[index]
    assert found["penalty"].item() == pytest.approx(np.mean(squares), rel=1e-4)
    total = found["contrastive"] + 0.1 * found["diversity"] + 10 * found["penalty"]
    torch.testing.assert_close(found["total"], total)


def test_distractors_are_other_masked_frames_of_the_same_item() -> None:
    net = network()
    made = objective(net, distractors=400)
    draws = drawn(net, made, batch(SAMPLES, 900))[1]
    for b in range(2):
        count = int(draws.hidden[b].sum())
        assert draws.place[b, :count].tolist() == draws.hidden[b].nonzero()[:, 0].tolist()
        assert draws.real[b].sum() == count
        for t in range(count):
            assert set(draws.other[b, t].tolist()) == set(range(count)) - {t}


def test_a_distractor_of_the_same_codes_is_left_out_and_equal_ones_are_a_uniform_guess() -> None:
    c, q = torch.randn(1, 3, 4), torch.eye(4)[None, :3]
    other = torch.tensor([[[1, 2], [0, 2], [0, 1]]])
    same = torch.eye(3, dtype=torch.bool)[None].clone()
    same[0, 0, 1] = same[0, 1, 0] = True
    losses, right = contrastive(c, q, other, same, temperature=0.1)
    alone = contrastive(c, q, torch.tensor([[[2, 2], [2, 2], [0, 1]]]), None, temperature=0.1)[0]
    assert losses[0, 0] < alone[0, 0]  # one distractor, not twice the same
    everything = torch.ones(1, 3, 3, dtype=torch.bool)
    assert not contrastive(c, q, other, everything, temperature=0.1)[0].any()
    even, right = contrastive(torch.ones(1, 3, 4), q, other, None, temperature=0.1)
    torch.testing.assert_close(even, torch.full((1, 3), 3.0).log())
    assert not right.any()


def test_the_loss_does_not_see_lengths_of_vectors_and_its_gradient_is_right() -> None:
    generator = torch.Generator().manual_seed(0)
    c, q = (torch.randn(2, 4, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    other = torch.randint(0, 4, (2, 4, 5), generator=generator)
    losses = contrastive(c, q, other, temperature=0.2)[0]
    torch.testing.assert_close(contrastive(3 * c, 0.1 * q, other, temperature=0.2)[0], losses)
    inputs = (c.requires_grad_(), q.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: contrastive(a, b, other, temperature=0.3)[0], inputs)


def test_the_feature_encoders_gradient_is_scaled() -> None:
    grads = []
    for scale in (1.0, 0.25):
        net = network()
        terms = objective(net, gradient_scale=scale)(net, batch(SAMPLES, 1000))
        terms["total"].backward()
        grads.append((terms["total"].item(), net.backbone.convolutions[1].weight.grad, net.backbone.projection.weight.grad))  # type: ignore[index, union-attr]
    assert grads[0][0] == grads[1][0]
    torch.testing.assert_close(grads[0][1] * 0.25, grads[1][1], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(grads[0][2], grads[1][2])


def test_the_temperature_falls_by_a_factor_a_step_down_to_its_least() -> None:
    net = network()
    made = objective(net, temperatures=[2.0, 0.5], decay=0.9)
    assert float(made.temperature) == 2.0
    for step, expected in ((1, 1.8), (5, 2 * 0.9**5), (100, 0.5)):
        made.after_step(net, step, 100)
        assert float(made.temperature) == pytest.approx(expected)
    assert "step" in made.state_dict()  # so that a resumed run goes on from here


def test_what_is_drawn_depends_on_seed_epoch_and_sample_alone() -> None:
    net = network()
    made = objective(net)
    given = batch(SAMPLES, 1200, 900)
    draws = drawn(net, made, given)[1]
    order = torch.tensor([2, 0, 1])
    turned = Batch([Padded(given.views[0].x[order], given.views[0].lengths[order])], Key(0, 0, given.key.sample[order]), order)  # type: ignore[union-attr]
    assert torch.equal(drawn(net, made, turned)[1].hidden, draws.hidden[order])
    torch.testing.assert_close(made(net, turned)["total"], made(net, given)["total"])
    for other in (batch(SAMPLES, 1200, 900, seed=1), batch(SAMPLES, 1200, 900, epoch=1)):
        assert not torch.equal(drawn(net, made, other)[1].hidden, draws.hidden)


def test_continuous_targets_have_no_codes_and_no_diversity() -> None:
    net = network()
    made = objective(net, targets="continuous")
    terms = made(net, batch(SAMPLES, 1000))
    assert set(terms) == {"total", "contrastive", "penalty", "accuracy"}
    terms["total"].backward()
    assert all(p.grad is not None for _, p in made.optimised(net))


def test_every_weight_learns_and_every_term_is_a_finite_number() -> None:
    net = network()
    made = objective(net)
    terms = made(net, batch(SAMPLES, 1000))
    assert all(v.shape == () and v.dtype == torch.float32 and torch.isfinite(v) for v in terms.values())
    terms["total"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for _, p in made.optimised(net))


def test_an_item_too_short_to_have_a_distractor_has_no_share_in_the_loss() -> None:
    net = network()
    made = objective(net)
    both, alone = batch(SAMPLES, 35), batch(SAMPLES)
    assert drawn(net, made, both)[0].own.sum(1).tolist()[1] == 1  # type: ignore[union-attr]
    torch.testing.assert_close(made(net, both)["contrastive"], made(net, alone)["contrastive"], rtol=1e-4, atol=1e-5)


def test_the_penalty_is_over_own_frames() -> None:
    z = torch.ones(2, 3, 4)
    z[1, 1:] = 9.0
    assert float(mean_square(z, torch.tensor([[True] * 3, [True, False, False]]))) == 1.0


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"probability": 2.0}, "starts? a span"),
        ({"entries": 0}, "1 at least"),
        ({"code_dim": 7}, "divides by groups"),
        ({"temperatures": [2.0, 0.0]}, "temperatures lie above 0"),
        ({"dropout": 1.0}, "dropout in"),
        ({"targets": "both"}, "targets"),
    ],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        objective(network(), **wrong)


def test_a_backbone_without_latents_is_refused() -> None:
    with pytest.raises(UserError, match="use backbone wav2vec2"):
        objective(network("conv1d", widths=[4], kernels=[8], strides=[4]))
