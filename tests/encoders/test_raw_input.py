from __future__ import annotations

import pytest
import torch

from stages.common.errors import ContractError, UserError
from tests.encoders.conftest import Make


def test_it_gives_the_input_back_and_has_no_weights(backbone: Make) -> None:
    net = backbone("raw_input", (3, 4, 5))
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(net(x), x.reshape(2, 60))
    assert net.width == 60
    assert list(net.parameters()) == []


def test_pictures_and_series_are_averaged_to_a_size(backbone: Make) -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    net = backbone("raw_input", (1, 4, 4), side=2)
    assert net(x).tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert net.width == 4
    series = backbone("raw_input", (2, 4), side=2)
    assert series(torch.arange(8.0).view(1, 2, 4)).tolist() == [[0.5, 2.5, 4.5, 6.5]]


def test_its_rows_are_pixels_in_raster_order(backbone: Make) -> None:
    x = torch.arange(12.0).view(1, 2, 2, 3)
    assert backbone("raw_input", (2, 2, 3)).hidden(x)[0][0].tolist() == [[float(i), float(i + 6)] for i in range(6)]


def test_a_vector_has_no_rows_and_no_size(backbone: Make) -> None:
    with pytest.raises(ContractError, match="no patch or frame rows"):
        backbone("raw_input", (6,)).hidden(torch.randn(2, 6))
    with pytest.raises(UserError, match="cannot be averaged"):
        backbone("raw_input", (6,), side=2)
    with pytest.raises(UserError, match="cannot be averaged"):
        backbone("raw_input", (1, 8, 4), side=5)
