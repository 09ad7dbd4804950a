from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common.errors import ContractError
from tests.encoders.conftest import Make
from tests.oracles import bottleneck


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def closed_form(channels: int, width: int, blocks: tuple[int, ...]) -> int:
    """Weights of 1x1 and 3x3 convolutions and two numbers per batch-normed channel."""
    total = 9 * channels * width + 2 * width
    inputs = width
    for stage, n in enumerate(blocks):
        inner = width * 2**stage
        for block in range(n):
            total += inputs * inner + 9 * inner * inner + 4 * inner * inner + 2 * (inner + inner + 4 * inner)
            if block == 0:
                total += 4 * inputs * inner + 2 * 4 * inner
            inputs = 4 * inner
    return total


def test_resnet_50_has_the_published_number_of_parameters_but_for_its_stem() -> None:
    """25,557,032 with a 7x7 stem and 1,000 classes (2048 weights and a bias each); here a 3x3 stem and no classes."""
    published, classes, wide_stem, stem = 25_557_032, 2049 * 1000, 49 * 3 * 64, 9 * 3 * 64
    assert closed_form(3, 64, (3, 4, 6, 3)) == published - classes - wide_stem + stem == 23_500_352


@pytest.mark.parametrize(("channels", "width", "blocks"), [(3, 64, (3, 4, 6, 3)), (1, 4, (2, 1)), (2, 3, (1, 2, 1))])
def test_parameters_are_counted_by_the_closed_form(backbone: Make, channels: int, width: int, blocks: tuple[int, ...]) -> None:
    with torch.device("meta"):
        net = backbone("resnet_bottleneck", (channels, 16, 16), width=width, blocks=list(blocks))
    assert count(net) == closed_form(channels, width, blocks)
    assert net.width == 4 * width * 2 ** (len(blocks) - 1)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_it_agrees_with_a_slow_reference(backbone: Make, size: tuple[int, int]) -> None:
    net = backbone("resnet_bottleneck", (2, *size), width=3, blocks=[1, 2, 1])
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    expected = [bottleneck.resnet(item, weights, (1, 2, 1)) for item in x.double().numpy()]
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    for level, got in enumerate(layers):
        rows = np.stack([stages[level].reshape(len(stages[level]), -1).T for stages in expected])
        np.testing.assert_allclose(got.numpy(), rows, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(h.numpy(), np.stack([s[-1].mean((1, 2)) for s in expected]), rtol=1e-4, atol=1e-5)


def test_weights_are_drawn_with_he_fan_out_variance(backbone: Make) -> None:
    weight = backbone("resnet_bottleneck", (3, 32, 32)).stages[2][1].residual[3].weight
    assert float(weight.detach().std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_a_vector_is_refused_with_a_remedy(backbone: Make) -> None:
    with pytest.raises(ContractError, match=r"takes \(C, H, W\)"):
        backbone("resnet_bottleneck", (64,))
