from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.common.errors import ContractError
from stages.encoders.core.residual import Projection
from tests.encoders.conftest import Make
from tests.oracles import networks

ROOT = Path(__file__).parents[2]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def closed_form(channels: int, width: int, blocks: tuple[int, ...]) -> int:
    """Weights of 3x3 convolutions, 1x1 projections and two numbers per batch-normed channel."""
    total = 9 * channels * width + 2 * width
    inputs = width
    for stage, n in enumerate(blocks):
        out = width * 2**stage
        for block in range(n):
            total += 9 * inputs * out + 9 * out * out + 4 * out
            if stage and block == 0:
                total += inputs * out + 2 * out
            inputs = out
    return total


def test_the_cifar_resnet_18_has_the_published_number_of_parameters(backbone: Make) -> None:
    net = backbone("resnet", (3, 32, 32))
    assert count(net) == 11_168_832
    assert net.width == 512


@pytest.mark.parametrize(("channels", "width", "blocks"), [(1, 16, (2, 2, 2, 2)), (2, 8, (1, 3)), (3, 4, (1, 1, 1))])
def test_parameters_are_counted_by_the_closed_form(backbone: Make, channels: int, width: int, blocks: tuple[int, ...]) -> None:
    net = backbone("resnet", (channels, 16, 16), width=width, blocks=list(blocks))
    assert count(net) == closed_form(channels, width, blocks)
    assert net.width == width * 2 ** (len(blocks) - 1)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_it_agrees_with_a_slow_reference(backbone: Make, size: tuple[int, int]) -> None:
    net = backbone("resnet", (2, *size), width=3, blocks=[1, 2, 1])
    x = torch.randn(2, 2, *size, generator=torch.Generator().manual_seed(1))
    weights = {k: v.double().numpy() for k, v in net.state_dict().items()}
    expected = [networks.resnet(item, weights, (1, 2, 1)) for item in x.double().numpy()]
    with torch.inference_mode():
        layers, h = net.hidden(x), net(x)
    for level, got in enumerate(layers):
        rows = np.stack([stages[level].reshape(len(stages[level]), -1).T for stages in expected])
        np.testing.assert_allclose(got.numpy(), rows, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(h.numpy(), np.stack([s[-1].mean((1, 2)) for s in expected]), rtol=1e-4, atol=1e-5)


def test_each_stage_halves_the_side_and_doubles_the_channels(backbone: Make) -> None:
    net = backbone("resnet", (1, 8, 8), width=4)
    shapes = [tuple(h.shape) for h in net.hidden(torch.randn(3, 1, 8, 8))]
    assert shapes == [(3, 64, 4), (3, 16, 8), (3, 4, 16), (3, 1, 32)]


def test_weights_are_drawn_with_he_fan_out_variance(backbone: Make) -> None:
    weight = backbone("resnet", (3, 32, 32)).stages[2][1].residual[0].weight
    assert float(weight.detach().std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.01)


def test_a_vector_is_refused_with_a_remedy(backbone: Make) -> None:
    with pytest.raises(ContractError, match=r"takes \(C, H, W\)"):
        backbone("resnet", (64,))


NARROW = """
import torch
from stages.encoders.core.residual import Projection
x = torch.randn(2, 8, 64, 64).to(memory_format=torch.channels_last).requires_grad_()
Projection(8, 16, 1, 2, bias=False).to(memory_format=torch.channels_last)(x).sum().backward()
"""


@pytest.mark.parametrize("channels", [8, 16])
def test_a_projection_is_the_strided_convolution(channels: int) -> None:
    torch.manual_seed(0)
    projection = Projection(channels, 4, 1, 2, bias=False)
    x = torch.randn(2, channels, 7, 6)
    torch.testing.assert_close(projection(x), torch.nn.functional.conv2d(x, projection.weight, stride=2))


def test_a_narrow_network_with_channels_last_does_not_end_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", NARROW], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.returncode}\n{done.stderr}"
