from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common.errors import ContractError, UserError
from tests.encoders.conftest import Make


def test_parameters_are_counted_by_the_closed_form(backbone: Make) -> None:
    net = backbone("conv1d", (2, 50), widths=[4, 8], kernels=[5, 3], strides=[2, 2])
    assert sum(p.numel() for p in net.parameters()) == 2 * 4 * 5 + 4 * 8 * 3 + 2 * (4 + 8)
    assert net.width == 8


def test_a_block_agrees_with_a_plain_loop(backbone: Make) -> None:
    net = backbone("conv1d", (2, 11), widths=[3], kernels=[4], strides=[3])
    x = torch.randn(1, 2, 11)
    w = {k: v.double().numpy() for k, v in net.state_dict().items()}
    padded = np.pad(x[0].double().numpy(), ((0, 0), (2, 2)))
    expected = []
    for t in range((11 + 4 - 4) // 3 + 1):
        y = np.array([(padded[:, 3 * t : 3 * t + 4] * k).sum() for k in w["blocks.0.0.weight"]])
        y = (y - w["blocks.0.1.running_mean"]) / np.sqrt(w["blocks.0.1.running_var"] + 1e-5)
        expected.append(np.maximum(y * w["blocks.0.1.weight"] + w["blocks.0.1.bias"], 0))
    with torch.inference_mode():
        np.testing.assert_allclose(net.hidden(x)[0][0].numpy(), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(net(x)[0].numpy(), np.mean(expected, 0), rtol=1e-4, atol=1e-5)


def test_frames_follow_the_strides(backbone: Make) -> None:
    net = backbone("conv1d", (1, 1600), widths=[4] * 5, kernels=[10, 8, 4, 4, 4], strides=[5, 4, 2, 2, 2])
    assert [h.shape[1] for h in net.hidden(torch.randn(1, 1, 1600))] == [321, 81, 41, 21, 11]


def test_lists_of_different_length_are_a_mistake(backbone: Make) -> None:
    with pytest.raises(UserError, match="2 widths, 3 kernels"):
        backbone("conv1d", (1, 50), widths=[4, 8])


def test_a_picture_is_refused(backbone: Make) -> None:
    with pytest.raises(ContractError, match=r"takes \(C, T\)"):
        backbone("conv1d", (1, 8, 8))
