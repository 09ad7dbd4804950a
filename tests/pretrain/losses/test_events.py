"""The losses of CoLES, MLEM and the reconstruction of events: against loops, closed forms, invariances."""

from __future__ import annotations

import math

import pytest
import torch

from stages.pretrain.core.event_decoder import reconstruction
from stages.pretrain.objectives.coles import margin_contrastive
from stages.pretrain.objectives.mlem import siglip
from tests.oracles import events as slow


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("margin", "negatives"), [(0.5, 5), (1.2, 2), (1.9, 50)])
def test_margin_contrast_is_that_of_a_loop_over_pairs(margin: float, negatives: int) -> None:
    h, entity = drawn(15, 4), torch.arange(5).repeat(3)
    found = margin_contrastive(h, entity, margin=margin, negatives=negatives)
    assert [float(f) for f in found] == pytest.approx(
        slow.margin_contrastive(h.numpy(), entity.tolist(), margin, negatives), rel=1e-5
    )


def test_margin_contrast_in_closed_form() -> None:
    entity = torch.tensor([0, 0, 1, 1])
    same = torch.ones(4, 3).double()  # all in one place: attraction costs nothing, repulsion margin^2 / 2
    attract, repel, total = margin_contrastive(same, entity, margin=0.5, negatives=2)
    assert float(attract) == pytest.approx(0, abs=1e-6) and float(repel) == pytest.approx(0.125, abs=1e-5)
    assert float(total) == pytest.approx(8 * 0.125 / 12, abs=1e-5)  # 4 positive pairs, 8 negative ones
    best = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])
    assert float(margin_contrastive(best, entity, margin=0.5, negatives=2)[2]) == pytest.approx(0, abs=1e-6)


def test_margin_contrast_knows_directions_alone() -> None:
    h, entity = drawn(12, 4), torch.arange(4).repeat(3)
    scaled = h * torch.rand(12, 1, generator=torch.Generator().manual_seed(1)).add(0.5)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    base = margin_contrastive(h, entity, margin=0.9, negatives=3)
    for other in (
        margin_contrastive(scaled, entity, margin=0.9, negatives=3),
        margin_contrastive(h[order], entity[order], margin=0.9, negatives=3),
    ):
        torch.testing.assert_close(torch.stack(other), torch.stack(base))


def test_gradients_of_both_contrasts_are_those_of_finite_differences() -> None:
    entity = torch.arange(3).repeat(2)
    h, g = drawn(6, 3).double().requires_grad_(), drawn(6, 3, seed=1).double()
    t, b = (
        torch.tensor(3.0, dtype=torch.float64, requires_grad=True),
        torch.tensor(-1.0, dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda x: margin_contrastive(x, entity, margin=1.0, negatives=2)[2], (h,))
    assert torch.autograd.gradcheck(lambda x, t, b: siglip(x, g, t, b), (h, t, b))


def test_siglip_is_that_of_a_loop_over_pairs() -> None:
    f, g = drawn(7, 5), drawn(7, 5, seed=1)
    for t, b in ((10.0, -10.0), (1.0, 0.0)):
        found = siglip(f, g, torch.tensor(t), torch.tensor(b))
        assert float(found) == pytest.approx(slow.siglip(f.numpy(), g.numpy(), t, b), rel=1e-5)


def test_siglip_is_that_of_a_library() -> None:
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    text, vision = {**size, "vocab_size": 9, "projection_size": 8}, {**size, "image_size": 8, "patch_size": 4}
    torch.manual_seed(0)
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()
    model.logit_scale.data.fill_(math.log(7.0))
    model.logit_bias.data.fill_(-2.0)
    ids = torch.arange(3).view(3, 1) + torch.arange(4)
    out = model(input_ids=ids, pixel_values=drawn(3, 3, 8, 8), return_loss=True)
    found = siglip(out.text_embeds, out.image_embeds, torch.tensor(7.0), torch.tensor(-2.0))
    assert float(found.detach()) == pytest.approx(float(out.loss.detach()), rel=1e-5)


def test_siglip_in_closed_form() -> None:
    one = torch.ones(4, 2)  # every cosine is 1: each row has one pair to join and three to part
    found = siglip(one, one, torch.tensor(2.0), torch.tensor(1.0))
    assert float(found) == pytest.approx(math.log1p(math.exp(-3)) + 3 * math.log1p(math.exp(3)), rel=1e-5)


def events() -> tuple[torch.Tensor, torch.Tensor]:
    """x (3, 4, 6) with 6, 3 and 1 events, one third of them without a value."""
    generator = torch.Generator().manual_seed(5)
    lengths = torch.tensor([6, 3, 1])
    own = torch.arange(6) < lengths[:, None]
    has = own & (torch.rand(3, 6, generator=generator) > 0.33)
    code = torch.randint(1, 7, (3, 6), generator=generator) * own
    x = torch.stack([torch.rand(3, 6, generator=generator) * own, code, torch.randn(3, 6, generator=generator) * has, has], 1)
    return x.float(), lengths


def test_reconstruction_is_that_of_a_loop_over_events() -> None:
    x, lengths = events()
    logits, value, since = drawn(3, 6, 7), drawn(3, 6, seed=1), drawn(3, 6, seed=2)
    found = reconstruction(logits, value, since, x, lengths)
    expected = slow.reconstruction(logits.numpy(), value.numpy(), since.numpy(), x.numpy(), lengths.tolist())
    assert [float(f) for f in found] == pytest.approx(expected, rel=1e-5)
    noisy = value.masked_fill(torch.arange(6) >= lengths[:, None], 99.0)
    torch.testing.assert_close(reconstruction(logits, noisy, since, x, lengths)[1], found[1])


def test_reconstruction_in_closed_form() -> None:
    x, lengths = events()
    code, value, since = reconstruction(torch.zeros(3, 6, 7), x[:, 2] + 2, x[:, 0] - 3, x, lengths)
    assert float(code) == pytest.approx(math.log(7), rel=1e-6)
    assert float(value) == pytest.approx(4, rel=1e-5) and float(since) == pytest.approx(9, rel=1e-5)
    bare = x.clone()
    bare[:, 2:] = 0
    assert [float(f) for f in reconstruction(torch.zeros(3, 6, 7), x[:, 2] + 2, x[:, 0], bare, lengths)[1:]] == [0, 0]
