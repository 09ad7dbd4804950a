"""BrainBERT's objective against loops and closed forms: the loss, the masked runs, what fills them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.common.corpus import Column
from stages.common.errors import ContractError, UserError
from stages.common.schema import Part
from stages.encoders.core import encoder as encoders
from stages.encoders.core.encoder import Encoder
from stages.pretrain.core.objective import Batch
from stages.pretrain.objectives.brainbert import BrainBert, Runs, changed_along, content_aware_l1, runs
from stages.views.core import random
from stages.views.core.base import Key
from tests.oracles import brainbert as slow

COLUMN = Column("eeg", "media", "series", shape=[128, 1], rate=256)
NET = {"dim": 16, "depth": 1, "heads": 2, "centre": 4, "dropout": 0.0}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def encoder(backbone: Part | None = None) -> Encoder:
    torch.manual_seed(0)
    front = Part("spectrogram", {"window": 32, "hop": 8, "bins": 12})
    return encoders.new(front, backbone or Part("spectrogram_transformer", NET), COLUMN, Path())


def batch(net: Encoder, sample: list[int], epoch: int = 0) -> Batch:
    data = torch.randn(64, 128, 1, generator=torch.Generator().manual_seed(1))
    rows = torch.tensor(sample)
    return Batch([net.frontend(data[rows])], Key(0, epoch, rows), torch.arange(len(rows)))


def drawn(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    prediction, target = (torch.randn(3, 5, 7, generator=draw) for _ in range(2))
    return prediction, target, torch.rand(3, 5, 7, generator=draw) < 0.3


# the loss


@pytest.mark.parametrize("threshold", [0.0, 1.0, 9.0])
def test_the_loss_is_the_loop_over_cells(threshold: float) -> None:
    prediction, target, mask = drawn()
    found = content_aware_l1(prediction, target, mask, threshold=threshold)
    expected = slow.loss(prediction.numpy(), target.numpy(), mask.numpy(), threshold)
    assert [float(f) for f in found] == pytest.approx(expected, rel=1e-5)


def test_the_content_term_sees_rare_cells_alone() -> None:
    target, mask = torch.tensor([[[0.5, 3.0, -2.0, 4.0]]]), torch.tensor([[[True, True, True, False]]])
    prediction = torch.tensor([[[1.5, 1.0, -2.5, 0.0]]])
    l1, content = content_aware_l1(prediction, target, mask, threshold=1.0)
    assert float(l1) == pytest.approx(3.5 / 3) and float(content) == pytest.approx(2.5 / 2)


def test_its_gradient_is_nought_off_the_mask_and_larger_at_rare_cells() -> None:
    prediction, target, mask = (t.double() if t.dtype != torch.bool else t for t in drawn())
    prediction.requires_grad_()
    l1, content = content_aware_l1(prediction, target, mask, threshold=1.0)
    (gradient,) = torch.autograd.grad(l1 + 2 * content, prediction)
    rare = mask & (target.abs() > 1)
    assert not gradient[~mask].any()
    torch.testing.assert_close(gradient[mask & ~rare].abs(), torch.full_like(gradient[mask & ~rare], 1 / mask.sum()))
    torch.testing.assert_close(gradient[rare].abs(), torch.full_like(gradient[rare], 1 / mask.sum() + 2 / rare.sum()))


def test_without_masked_cells_it_is_nought() -> None:
    prediction, target, _ = drawn()
    found = content_aware_l1(prediction, target, torch.zeros_like(target, dtype=torch.bool), threshold=1.0)
    assert [float(f) for f in found] == [0, 0]


# masks


@pytest.mark.parametrize(("start", "longest"), [(0.05, 5), (0.3, 4), (1.0, 3), (0.2, 1)])
def test_runs_are_those_of_a_walk_along_the_places(start: float, longest: int) -> None:
    state = random.stream(7, torch.arange(40))
    found = runs(state, 33, start=start, longest=longest)
    draw = random.uniform(state, 4 * 33).view(40, 4, 33).numpy()
    for item in range(40):
        hidden, lot, source = slow.runs(draw[item], start, longest)
        own = np.array(hidden)
        assert found.hidden[item].tolist() == hidden
        assert found.lot[item].numpy()[own].tolist() == np.float32(lot)[own].tolist()
        assert found.source[item].numpy()[own].tolist() == np.array(source)[own].tolist()


def test_as_many_places_are_hidden_as_five_lengths_alike_imply() -> None:
    found = runs(random.stream(3, torch.arange(4000)), 40, start=0.05, longest=5)
    expected = 1 - np.prod([1 - 0.05 * (5 - after) / 5 for after in range(5)])  # no start reaches here from `after` before
    assert float(found.hidden[:, 5:].float().mean()) == pytest.approx(expected, abs=0.004)


def test_a_run_is_filled_from_elsewhere_kept_or_emptied() -> None:
    x = torch.arange(1.0, 6.0).expand(1, 2, 5).clone()
    hidden = torch.tensor([[False, True, True, True, True]])
    found = Runs(hidden, torch.tensor([[0.0, 0.05, 0.15, 0.2, 0.9]]), torch.tensor([[1, 3, 4, 0, 1]]))
    assert changed_along(x, found, replaced=0.1, kept=0.1)[0, 1].tolist() == [1, 4, 3, 0, 0]
    assert changed_along(x, found, replaced=0.0, kept=1.0).equal(x)


def test_cells_off_the_mask_are_left_alone_and_whole_frames_and_bands_are_masked() -> None:
    objective, x = BrainBert(encoder(), start=0.2, replaced=0.0, kept=0.0), 1 + torch.rand(16, 12, 17)
    changed, mask = objective.masked(x, random.stream(0, torch.arange(16)))
    assert changed.equal(torch.where(mask, 0.0, x))
    lines = mask.all(1)[:, None, :] | mask.all(2)[:, :, None]
    assert mask.equal(lines) and 0.2 < float(mask.float().mean()) < 0.9


def test_where_frames_and_frequencies_run_is_drawn_apart() -> None:
    objective = BrainBert(encoder(), start=0.3, frames=1, bins=1)
    mask = objective.masked(torch.rand(400, 12, 17), random.stream(0, torch.arange(400)))[1]
    time, frequency = mask.all(1)[:, :12].flatten().float(), mask.all(2).flatten().float()
    assert abs(float(torch.corrcoef(torch.stack([time, frequency]))[0, 1])) < 0.06


# the objective


def test_total_is_the_two_terms_of_the_heads_frames() -> None:
    net = encoder()
    objective, given = BrainBert(net, start=0.2, alpha=3.0), batch(net, [0, 5, 9])
    terms = objective(net, given)
    x = net.prepared(given.views[0])
    changed, mask = objective.masked(x[:, 0], random.stream(0, 0, given.sample))
    guess = objective.head(net.backbone.hidden(changed[:, None])[-1]).transpose(1, 2)
    l1, content = slow.loss(guess.detach().numpy(), x[:, 0].numpy(), mask.numpy(), 1.0)
    assert float(terms["total"].detach()) == pytest.approx(l1 + 3 * content, rel=1e-5)
    assert [float(terms[k]) for k in ("l1", "content", "covered")] == pytest.approx(
        [l1, content, float(mask.float().mean())], rel=1e-5
    )


def test_what_is_emptied_is_not_seen() -> None:
    net = encoder()
    objective, given = BrainBert(net, start=0.3, replaced=0.0, kept=0.0), batch(net, [0, 1])
    x = net.prepared(given.views[0])[:, 0]
    state = random.stream(0, 0, given.sample)
    first, mask = objective.masked(x, state)
    assert objective.masked(torch.where(mask, x + 9, x), state)[0].equal(first)


def test_an_items_mask_depends_on_seed_epoch_and_item_alone() -> None:
    objective, x = BrainBert(encoder(), start=0.2), torch.rand(1, 12, 17)

    def mask(seed: int, epoch: int, sample: list[int]) -> Tensor:
        return objective.masked(x.expand(len(sample), -1, -1), random.stream(seed, epoch, torch.tensor(sample)))[1]

    assert mask(0, 1, [4, 5, 6])[1].equal(mask(0, 1, [5])[0])
    assert not mask(0, 1, [5]).equal(mask(0, 2, [5])) and not mask(0, 1, [5]).equal(mask(1, 1, [5]))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"start": 0.0}, "start"),
        ({"frames": 18}, "own sides"),
        ({"replaced": 0.7, "kept": 0.4}, "shares"),
        ({"alpha": -1.0}, "alpha"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        BrainBert(encoder(), **arguments)


def test_it_takes_one_view_and_a_backbone_with_a_token_a_frame() -> None:
    with pytest.raises(ContractError, match="backbone of tokens"):
        BrainBert(encoder(Part("raw_input")))
    net = encoder()
    one = batch(net, [0])
    with pytest.raises(UserError, match="one view"):
        BrainBert(net)(net, Batch([*one.views, *one.views], one.key, one.index))
    coarse = encoder(Part("mel_transformer", {"dim": 16, "depth": 1, "heads": 2}))
    with pytest.raises(ContractError, match="9 tokens for 17 frames"):
        BrainBert(coarse)(coarse, one)
