"""Fine-tuning: rates by depth, what stays still, the best epoch, repeatability."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.common.column import Column
from stages.common.errors import UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Input
from stages.fit.core.finetuning import FineTuning, depth, finetune, rates, schedule
from stages.fit.core.material import Decoded

COLUMN = Column("image", "media", "pixels", shape=[8, 8, 1])
VIT = Part("vit", {"dim": 8, "depth": 2, "heads": 2, "patch": 4, "pool": "mean"})


@pytest.fixture
def net() -> Encoder:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return encoders.new(Part("image"), VIT, COLUMN, Path())


@pytest.fixture
def media() -> Decoded:
    """Bright pictures and dark ones."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 60, (24, 8, 8, 1), generator=generator, dtype=torch.uint8)
    data[::2] += 150
    return Decoded(data, None)


LABELS = torch.tensor([1, 0] * 12)


def trained(net: Encoder, media: Decoded, seed: int = 0, score: Any = None, **changes: Any) -> tuple[nn.Linear, list[float]]:
    torch.manual_seed(7)
    head = nn.Linear(8, 2)

    def loss(x: Input, index: Tensor) -> Tensor:
        return nn.functional.cross_entropy(head(net(x)), LABELS[index])

    return head, finetune(
        net, head, media, loss, FineTuning(**({"epochs": 6, "batch_size": 8, "lr": 3e-3} | changes)), seed, score
    )


def test_it_learns_what_the_labels_say(net: Encoder, media: Decoded) -> None:
    head, history = trained(net, media, epochs=30)
    assert history[-1] < 0.1 < history[0]
    guess = head(net(net.frontend(media.data))).argmax(1)
    assert torch.equal(guess, LABELS)
    assert not net.training


def test_the_same_seed_gives_the_same_bits_and_leaves_torchs_generator_alone(media: Decoded) -> None:
    def weights(seed: int) -> Tensor:
        torch.manual_seed(0)
        other = encoders.new(Part("image"), VIT, COLUMN, Path())
        trained(other, media, seed)
        drawn = torch.get_rng_state()
        torch.manual_seed(7)
        nn.Linear(8, 2)
        assert torch.equal(drawn, torch.get_rng_state())  # only the head's weights were drawn from it
        return torch.cat([p.flatten() for p in other.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_deeper_blocks_learn_slower_by_a_power_of_the_decay(net: Encoder) -> None:
    plan = FineTuning(lr=0.1, head_lr=0.5, layer_decay=0.5, weight_decay=0.3)
    head = nn.Linear(8, 2)
    found = {id(p): (lr, decay, of_head) for p, lr, decay, of_head in rates(net, head, plan)}
    named = dict(net.named_parameters())
    assert found[id(named["backbone.blocks.1.qkv.weight"])] == (0.1, 0.3, False)
    assert found[id(named["backbone.blocks.0.qkv.weight"])] == (0.05, 0.3, False)
    assert found[id(named["backbone.project.weight"])] == (0.025, 0.3, False)
    assert found[id(named["backbone.blocks.1.qkv.bias"])][1] == 0.0
    assert found[id(head.weight)] == (0.5, 0.3, True)
    assert [depth(n) for n in ("backbone.stages.3.0.residual.0.weight", "backbone.norm.weight", "backbone.a.blocks.0.x")] == [
        4,
        0,
        1,
    ]


def test_what_is_still_never_changes_and_a_frozen_encoder_waits(net: Encoder, media: Decoded) -> None:
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    trained(net, media, still=["backbone.project"], epochs=2)
    after = dict(net.named_parameters())
    assert torch.equal(before["backbone.project.weight"], after["backbone.project.weight"])
    assert not torch.equal(before["backbone.blocks.0.qkv.weight"], after["backbone.blocks.0.qkv.weight"])

    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    trained(net, media, frozen_share=1.0, epochs=2)
    assert all(torch.equal(before[n], p) for n, p in net.named_parameters())


def test_the_weights_of_the_best_epoch_are_put_back(net: Encoder, media: Decoded) -> None:
    seen: list[Tensor] = []

    def score() -> float:
        assert not net.training
        seen.append(dict(net.named_parameters())["backbone.blocks.0.qkv.weight"].detach().clone())
        return [0.1, 0.9, 0.9, 0.2, 0.0, 0.0][len(seen) - 1]

    trained(net, media, score=score)
    assert len(seen) == 6
    assert torch.equal(dict(net.named_parameters())["backbone.blocks.0.qkv.weight"], seen[1])


def test_the_rate_rises_to_the_peak_and_falls_to_nothing() -> None:
    shares = [schedule(s, 20, 0.25) for s in range(20)]
    assert shares[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert shares[5] == 1.0
    assert shares[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 14 / 15)))
    assert shares[5:] == sorted(shares[5:], reverse=True)


def test_a_loss_that_is_not_finite_and_wrong_settings_are_told(net: Encoder, media: Decoded) -> None:
    with pytest.raises(UserError, match="the loss is nan in epoch 1"):
        finetune(net, nn.Linear(8, 2), media, lambda x, i: net(x).sum() * float("nan"), FineTuning(epochs=1), 0)
    for wrong in ({"epochs": 0}, {"warmup": 2.0}, {"layer_decay": 0.0}, {"lr": -1.0}):
        with pytest.raises(UserError, match="fine-tuning"):
            FineTuning(**wrong)  # type: ignore[arg-type]
