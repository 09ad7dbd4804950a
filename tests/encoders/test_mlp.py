from __future__ import annotations

import pytest
import torch

from stages.common.errors import ContractError, UserError
from tests.encoders.conftest import Make


@pytest.mark.parametrize(("batch_norm", "expected"), [(True, 12 * 5 + 5 * 7 + 2 * 12), (False, 12 * 5 + 5 * 7 + 12)])
def test_parameters_are_counted_by_the_closed_form(backbone: Make, batch_norm: bool, expected: int) -> None:
    net = backbone("mlp", (3, 2, 2), widths=[5, 7], batch_norm=batch_norm)
    assert sum(p.numel() for p in net.parameters()) == expected
    assert net.width == 7


def test_it_is_linear_layers_with_relu(backbone: Make) -> None:
    net = backbone("mlp", (2, 3), widths=[4, 3], batch_norm=False)
    x = torch.randn(5, 2, 3)
    w = net.state_dict()
    h = (x.view(5, 6) @ w["layers.1.weight"].T + w["layers.1.bias"]).clamp_min(0)
    h = (h @ w["layers.3.weight"].T + w["layers.3.bias"]).clamp_min(0)
    torch.testing.assert_close(net(x), h)


def test_it_has_no_patch_rows(backbone: Make) -> None:
    with pytest.raises(ContractError, match="no patch or frame rows"):
        backbone("mlp", (6,)).hidden(torch.randn(2, 6))


def test_no_layers_is_a_mistake(backbone: Make) -> None:
    with pytest.raises(UserError, match="one layer at least"):
        backbone("mlp", (6,), widths=[])
