"""HiFi-GAN: the losses against loops, shapes and receptive fields of its networks, and training in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.common.errors import UserError
from stages.fit.core.voice.adversarial import deception, discrimination, feature_matching, generation, mel_distance
from stages.fit.core.voice.discriminators import Discriminators, Opinion, PeriodDiscriminator, ScaleDiscriminator
from stages.fit.core.voice.gan_vocoder import GanPlan, GanVocoder, Pieces
from stages.fit.core.voice.generator import Generator
from stages.fit.core.voice.spectrum import Spectrum
from tests.fit.voice.making import spoken
from tests.oracles import voice as slow

TINY = GanPlan(
    steps=3,
    batch_size=2,
    segment=5,
    channels=8,
    rates=(5, 4, 8),
    kernels=(3, 5),
    dilations=(1, 3),
    periods=(2, 3),
    scales=(0, 1),
    period_channels=(2, 4),
    scale_channels=16,
)


def opinions(seed: int) -> list[Opinion]:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return [Opinion(draw(2, 7), [draw(2, 3, 4), draw(2, 5)]), Opinion(draw(2, 3), [draw(2, 9)])]


def test_the_losses_are_those_of_loops() -> None:
    real, made = opinions(0), opinions(1)
    scores = [[o.score.numpy() for o in each] for each in (real, made)]
    layers = [[[f.numpy() for f in o.features] for o in each] for each in (real, made)]
    assert float(discrimination(real, made)) == pytest.approx(slow.discrimination(*scores), abs=1e-12)
    assert float(deception(made)) == pytest.approx(slow.deception(scores[1]), abs=1e-12)
    assert float(feature_matching(real, made)) == pytest.approx(slow.feature_matching(*layers), abs=1e-12)
    mels = torch.zeros(1, 2, 3), torch.tensor([[[1.0, -1.0, 2.0], [0.0, 0.0, 2.0]]])
    assert float(mel_distance(*mels)) == 1.0
    total = slow.deception(scores[1]) + 2 * slow.feature_matching(*layers) + 45
    assert float(generation(real, made, mels, matching=2, mel=45)) == pytest.approx(total, abs=1e-5)


def test_the_best_discriminator_and_the_best_forgery_cost_nothing() -> None:
    ones, zeros = Opinion(torch.ones(2, 3), []), Opinion(torch.zeros(2, 3), [])
    assert discrimination([ones], [zeros]) == 0 and deception([ones]) == 0
    assert discrimination([zeros], [ones]) == 2 and deception([zeros]) == 1
    same = opinions(0)
    assert feature_matching(same, same) == 0


def test_matching_moves_what_is_made_and_not_what_is_real() -> None:
    real, made = (torch.randn(2, 4, requires_grad=True) for _ in range(2))
    feature_matching([Opinion(real, [real])], [Opinion(made, [made])]).backward()
    assert real.grad is None
    torch.testing.assert_close(made.grad, (made - real).sign() / 8)


@pytest.mark.parametrize("rates", [(5, 4, 4, 2), (3, 2), (7,), (10, 8, 2, 2)])
def test_a_frame_becomes_as_many_samples_as_the_rates_make(rates: tuple[int, ...]) -> None:
    made = Generator(6, channels=16, rates=rates, kernels=(3,), dilations=(1, 3))
    wave = made(torch.randn(2, 6, 9))
    assert wave.shape == (2, 9 * made.upsampling) and wave.abs().max() <= 1


@pytest.mark.parametrize("rates", [(3, 2), (4,)])
def test_the_generator_is_that_of_loops(rates: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    made = Generator(3, channels=8, rates=rates, kernels=(3, 5), dilations=(1, 2)).double()
    named = {
        f"{name}.{kind}": getattr(module, kind).detach().numpy()
        for name, module in made.named_modules()
        if isinstance(module, (torch.nn.Conv1d, torch.nn.ConvTranspose1d))
        for kind in ("weight", "bias")
    }
    x = torch.randn(2, 3, 6, dtype=torch.float64)
    for got, given in zip(made(x).detach().numpy(), x.numpy(), strict=True):
        np.testing.assert_allclose(got, slow.generator(given, named, list(rates), 2, [1, 2]), atol=1e-10)


def test_v1_has_the_papers_size() -> None:
    with torch.device("meta"):
        made = Generator(80, rates=(8, 8, 2, 2))
    extra = sum(p.numel() for n, p in made.named_parameters() if n.endswith("original0"))  # gains of the weight norms
    assert sum(p.numel() for p in made.parameters()) - extra == 13_926_017  # 13.92 M, table 1


def test_a_period_sees_every_pth_sample_alone() -> None:
    net, wave = PeriodDiscriminator(3, (4, 4)).double(), torch.randn(1, 60, dtype=torch.float64, requires_grad=True)
    score = net(wave).score.view(-1, 3)  # rows of a column each
    score[:, 1].sum().backward()
    seen = wave.grad[0].abs() > 0  # type: ignore[index]
    assert set(torch.nonzero(seen).flatten().remainder(3).tolist()) == {1}
    assert net(torch.randn(1, 61, dtype=torch.float64)).score.shape == (
        1,
        21,
    )  # reflected to 63 samples: 21 rows, 7 after a stride


def test_a_scale_hears_a_waveform_that_was_averaged() -> None:
    net = ScaleDiscriminator(1, 16)
    wave = torch.randn(2, 400)
    halved = torch.nn.functional.avg_pool1d(wave.unsqueeze(1), 4, 2, padding=2).squeeze(1)
    whole = ScaleDiscriminator(0, 16)
    whole.load_state_dict(net.state_dict())
    assert torch.equal(net(wave).score, whole(halved).score)
    both = Discriminators(periods=(2, 3), scales=(0, 1), period_channels=(2, 4), scale_channels=16)(wave)
    assert [len(o.features) for o in both] == [3, 3, 8, 8]  # every layer, the score's among them


def test_a_piece_holds_the_samples_of_its_frames() -> None:
    counts = [9, 3]
    x = torch.arange(12.0).unsqueeze(1) + 1
    given = spoken(counts, x)
    pieces = Pieces(x, given, 5, 160)
    torch.manual_seed(0)
    for _ in range(20):
        frames, wave = pieces.draw(torch.tensor([0, 1]))
        first = int(frames[0, 0, 0]) - 1
        assert frames[0, 0].tolist() == [first + 1.0 + i for i in range(5)] and first <= 4
        end = min(given.wave.shape[1], (first + 5) * 160)
        assert torch.equal(wave[0, : end - first * 160], given.wave[0, first * 160 : end])
        assert frames[1, 0].tolist() == [10.0, 11.0, 12.0, 0.0, 0.0]
        assert torch.equal(wave[1, :480], given.wave[1, :480]) and wave[1, 480:].abs().max() == 0


def test_training_follows_from_its_seed_and_moves_the_bands_together() -> None:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    given, spectrum = spoken([12, 10, 18], x), Spectrum.of(8000)
    one, again, other = (GanVocoder.of(x, given, spectrum, TINY, seed) for seed in (0, 0, 1))
    waves = [made(x[:15], torch.tensor([5, 10])) for made in (one, again, other)]
    assert waves[0].shape == (2, 1600) and torch.equal(waves[0], waves[1]) and not torch.equal(waves[0], waves[2])
    assert waves[0][0, 800:].abs().max() == 0  # the shorter one ends
    longer = GanVocoder.of(x, given, spectrum, GanPlan(**{**vars(TINY), "steps": 30, "lr": 2e-3}), 0)
    assert longer.history[1] < 0.7 * longer.history[0]


def test_mistakes_are_named() -> None:
    x = torch.randn(10, 6)
    with pytest.raises(UserError, match="make 80 samples of a frame, which stands for 160"):
        GanVocoder.of(x, spoken([10], x), Spectrum.of(8000), GanPlan(**{**vars(TINY), "rates": (5, 4, 4)}), 0)
    with pytest.raises(UserError, match="steps, batch_size and segment"):
        GanPlan(steps=0)
    with pytest.raises(UserError, match="channels halve with every rate"):
        GanPlan(channels=24)
    with pytest.raises(UserError, match="the mel distance is nan"):
        GanVocoder.of(x * np.nan, spoken([10], x), Spectrum.of(8000), TINY, 0)
