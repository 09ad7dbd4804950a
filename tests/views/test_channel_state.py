"""The views of radio channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from stages.common.corpus import Column
from stages.common.errors import UserError
from stages.encoders.core.inputs import tensor
from stages.encoders.frontends.channel_state import ChannelState as FrontEnd
from stages.encoders.frontends.series import Series
from stages.views.channel_state import ChannelState, rayleigh, run
from stages.views.core.base import Key
from tests.oracles import channel as slow

COLUMN = Column("csi", "media", "series", shape=[40, 4])
STILL: dict[str, Any] = {
    "share": (1.0, 1.0),
    "flip": 0.0,
    "gain_p": (0.0, 0.0),
    "fading_p": (0.0, 0.0),
    "sign_p": (0.0, 0.0),
    "noise_p": 0.0,
    "local": 0,
}


def frontend() -> FrontEnd:
    return FrontEnd(COLUMN, Path())


def channels(n: int = 200) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, 40, 4)).astype(np.float32))


def views(n: int = 200, **arguments: Any) -> list[Tensor]:
    made = ChannelState(frontend(), **arguments)
    return [tensor(v) for v in made(channels(n), None, Key(0, 0, torch.arange(n)))]


def still(**changes: Any) -> list[Tensor]:
    return views(**(STILL | changes))


def plain() -> Tensor:
    return frontend()(channels())


def test_with_every_strength_at_zero_the_global_views_are_the_front_end() -> None:
    found = still()
    assert len(found) == 2
    for view in found:
        assert torch.equal(view, plain())


def test_a_channel_looks_the_same_in_whatever_batch_it_comes() -> None:
    made, some, data = ChannelState(frontend(), local=2, noise_std=0.1), torch.tensor([3, 0]), channels(6)
    whole, part = made(data, None, Key(0, 0, torch.arange(6))), made(data[some], None, Key(0, 0, some))
    assert [tuple(v.shape) for v in map(tensor, whole)] == [(6, 6, 40)] * 2 + [(6, 6, 16)] * 2
    for a, b in zip(map(tensor, whole), map(tensor, part)):
        assert torch.equal(a[some], b)
    other = made(data, None, Key(0, 1, torch.arange(6)))
    assert not any(torch.equal(tensor(a), tensor(b)) for a, b in zip(whole, other))


@pytest.mark.parametrize(("width", "length"), [(10, 10), (10, 24), (7, 3), (1, 5)])
def test_a_run_of_subcarriers_matches_the_loop_and_torchs_interpolation(width: int, length: int) -> None:
    x = plain()[:3].double()
    start = torch.tensor([0.0, 0.5, 0.999], dtype=torch.float64)
    found = run(x, start, width, length)
    np.testing.assert_allclose(found.numpy(), slow.run(x.tolist(), start.tolist(), width, length), atol=1e-6)
    first = int(0.5 * (40 - width))
    torch.testing.assert_close(
        found[1:2], F.interpolate(x[1:2, :, first : first + width], length, mode="linear"), rtol=0, atol=1e-6
    )


def test_runs_begin_anywhere_and_never_leave_the_band() -> None:
    ramp = torch.arange(40.0).view(1, 1, 40).expand(1000, 1, 40)
    found = run(ramp, torch.rand(1000, generator=torch.Generator().manual_seed(0)), 36, 36)
    firsts = found[:, 0, 0].unique(return_counts=True)
    assert firsts[0].tolist() == [0, 1, 2, 3] and firsts[1].min() > 200
    assert found.max() == 38  # 40 - 36 places, of which the last is left out: floor((K - width) u), u < 1


def test_a_constant_channel_stays_constant_whatever_is_cut() -> None:
    made = ChannelState(frontend(), **(STILL | {"share": (0.9, 0.8), "local": 3}))
    for view in made(torch.ones(5, 40, 4), None, Key(0, 0, torch.arange(5))):
        x = tensor(view)
        torch.testing.assert_close(x, x[:, :, :1].expand_as(x))


@pytest.mark.parametrize(
    ("changes", "view", "probability"),
    [
        ({"flip": 0.4}, 0, 0.4),
        ({"flip": 0.4}, 1, 0.4),
        ({"gain_p": (0.2, 0.8)}, 0, 0.2),
        ({"gain_p": (0.2, 0.8)}, 1, 0.8),
        ({"fading_p": (0.0, 0.5)}, 0, 0.0),
        ({"fading_p": (0.0, 0.5)}, 1, 0.5),
        ({"sign_p": (0.0, 0.2)}, 0, 0.0),
        ({"sign_p": (0.0, 0.2)}, 1, 0.2),
        ({"noise_p": 0.2, "noise_std": 0.01}, 0, 0.2),
    ],
)
def test_each_change_comes_as_often_as_asked(changes: dict[str, Any], view: int, probability: float) -> None:
    changed = (still(**changes)[view] != plain()).flatten(1).any(1).double().mean()
    assert abs(float(changed) - probability) < 0.1  # of 200 items


def test_each_change_does_what_it_says() -> None:
    x, always = plain(), (1.0, 1.0)
    assert torch.equal(still(flip=1.0)[0], x.flip(2))
    assert torch.equal(still(sign_p=always)[1], -x)
    gains = still(gain_p=always, gain=0.3)[0] / x
    assert (gains.amax(dim=(1, 2)) - gains.amin(dim=(1, 2))).max() < 1e-4
    assert 0.7 <= gains.min() < 0.75 and 1.25 < gains.max() <= 1.3
    noise = still(noise_p=1.0, noise_std=0.05)[0] - x
    assert abs(float(noise.std()) - 0.05) < 0.001 and abs(float(noise.mean())) < 0.001
    faded = still(fading_p=always)[0]
    assert torch.equal(faded[:, :4], x[:, :4]) and not torch.equal(faded[:, 4:], x[:, 4:])
    low, high = (slow.rayleigh(x[:2, 4:].tolist(), [s, s]) for s in (0.5, 0.6))
    between = faded[:2, 4:].numpy()
    assert (between >= np.minimum(low, high) - 1e-6).mean() > 0.9 and (between <= np.maximum(low, high) + 1e-6).mean() > 0.9


def test_fading_is_a_rayleigh_density_with_its_peak_at_sigma() -> None:
    m, sigma = torch.rand(3, 2, 50), torch.tensor([0.5, 0.55, 0.6])
    np.testing.assert_allclose(rayleigh(m, sigma).numpy(), slow.rayleigh(m.tolist(), sigma.tolist()), rtol=1e-5)
    grid = torch.linspace(0, 4, 4001).view(1, 1, -1)
    density = rayleigh(grid, torch.tensor([0.5]))
    assert float(grid.flatten()[density.argmax()]) == pytest.approx(0.5, abs=1e-3)
    assert float(torch.trapezoid(density, grid)) == pytest.approx(1, abs=1e-4)


def test_media_that_are_no_channels_are_refused() -> None:
    with pytest.raises(UserError, match="takes \\(3 A, K\\)"):
        ChannelState(Series(COLUMN, Path()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"gain_p": (0.2, 2.0)},
        {"share": (0.9, 1.1)},
        {"share": (0.01, 0.9)},
        {"local_share": 0.001},
        {"sigma": (0.0, 0.5)},
        {"local": -1},
        {"length": 0},
        {"noise_std": -1.0},
    ],
)
def test_arguments_out_of_range_are_the_users_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        ChannelState(frontend(), **wrong)
