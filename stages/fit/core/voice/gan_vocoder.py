"""A trained vocoder: the generator against discriminators, on pieces of recordings and the frames given for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.common.errors import UserError
from stages.fit.core.voice.adversarial import discrimination, generation
from stages.fit.core.voice.discriminators import Discriminators
from stages.fit.core.voice.generator import Generator
from stages.fit.core.voice.mel_decoder import stride
from stages.fit.core.voice.spectrum import Spectrum
from stages.fit.core.voice.utterances import Utterances


@dataclass(frozen=True)
class GanPlan:
    """How it is trained; the defaults are HiFi-GAN's V1 (Kong et al. 2020, sec. 3 and app. A) and kNN-VC's 2.5 million steps.

    segment: frames of the encoder in a piece. rates: of the generator; their product is the samples that a frame stands for.
    decay: of the rate, after every pass over the recordings. matching, mel: weights of the generator's loss.
    """

    steps: int = 2_500_000
    batch_size: int = 16
    segment: int = 22
    lr: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    decay: float = 0.999
    matching: float = 2.0
    mel: float = 45.0
    channels: int = 512
    rates: tuple[int, ...] = (10, 8, 2, 2)
    kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    scales: tuple[int, ...] = (0, 1, 2)
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    scale_channels: int = 128

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size, self.segment) < 1 or self.lr <= 0:
            raise UserError("steps, batch_size and segment are 1 or more, lr above 0", where="gan")
        if self.channels % 2 ** len(self.rates) or self.scale_channels % 16:
            raise UserError("channels halve with every rate; scale_channels is a multiple of 16", where="gan")


@dataclass(frozen=True)
class GanVocoder:
    """generator: trained. history: mel distance at the first and the last step, averaged over a tenth of them."""

    generator: Generator
    mean: Tensor
    std: Tensor
    history: tuple[float, float]

    @staticmethod
    def of(given: Tensor, spoken: Utterances, spectrum: Spectrum, plan: GanPlan, seed: int) -> GanVocoder:
        """Trained to give the recordings from the frames `given` (N, D). Raises UserError for rates that do not fit."""
        step = stride(spoken.samples, spoken.counts, spectrum)
        made, meant = math.prod(plan.rates), step * spectrum.hop
        if made != meant:
            raise UserError(
                f"rates {list(plan.rates)} make {made} samples of a frame, which stands for {meant}",
                where="head voice_conversion.gan.rates",
                do=f"give factors of {meant}",
            )
        mean, std = given.mean(0), given.std(0).clamp_min(1e-6)
        cards = [given.device] if given.is_cuda else []
        with torch.random.fork_rng(devices=cards):
            torch.manual_seed(seed)
            generator = Generator(
                given.shape[1], channels=plan.channels, rates=plan.rates, kernels=plan.kernels, dilations=plan.dilations
            )
            judges = Discriminators(
                periods=plan.periods,
                scales=plan.scales,
                period_channels=plan.period_channels,
                scale_channels=plan.scale_channels,
            )
            generator, judges = generator.to(given.device), judges.to(given.device)
            pieces = Pieces((given - mean) / std, spoken, plan.segment, math.prod(plan.rates))
            distances = _train(generator, judges, pieces, spectrum, plan)
        tenth = max(1, len(distances) // 10)
        history = sum(distances[:tenth]) / tenth, sum(distances[-tenth:]) / tenth
        return GanVocoder(generator.eval(), mean, std, history)

    @torch.no_grad()
    def __call__(self, x: Tensor, counts: Tensor) -> Tensor:
        """x (N, D), counts (I,) -> waveforms (I, T), one at a time: padding would reach into what comes before it."""
        waves = [self.generator(one.T.unsqueeze(0))[0] for one in ((x - self.mean) / self.std).split(counts.tolist())]
        return torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)


class Pieces:
    """Pieces of `segment` frames and their samples; a shorter recording is followed by its mean frame and by silence."""

    def __init__(self, x: Tensor, spoken: Utterances, segment: int, upsampling: int) -> None:
        self.x, self.spoken, self.segment, self.upsampling = x, spoken, segment, upsampling
        self.start = spoken.counts.cumsum(0) - spoken.counts

    def __len__(self) -> int:
        return len(self.spoken)

    def draw(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """index (B,) -> frames (B, D, segment), waveforms (B, segment * upsampling), from places drawn by torch's generator."""
        counts = self.spoken.counts[index]
        room = (counts - self.segment).clamp_min(0) + 1
        first = (torch.rand(len(index), device=self.x.device) * room).long()
        at = first.unsqueeze(1) + torch.arange(self.segment, device=self.x.device)
        own = at < counts.unsqueeze(1)
        rows = self.x[torch.where(own, self.start[index].unsqueeze(1) + at, 0)] * own.unsqueeze(-1)
        samples = first.unsqueeze(1) * self.upsampling + torch.arange(self.segment * self.upsampling, device=self.x.device)
        wave = self.spoken.wave[index]
        sound = wave.gather(1, samples.clamp_max(wave.shape[1] - 1)) * (samples < wave.shape[1])
        return rows.transpose(1, 2), sound


def _train(generator: Generator, judges: Discriminators, pieces: Pieces, spectrum: Spectrum, plan: GanPlan) -> list[float]:
    """Mel distances, step by step. Raises UserError where one is not finite."""
    optimisers = [
        torch.optim.AdamW(net.parameters(), plan.lr, plan.betas, weight_decay=plan.weight_decay) for net in (generator, judges)
    ]
    found: list[float] = []
    while len(found) < plan.steps:
        for index in torch.randperm(len(pieces)).to(pieces.x.device).split(plan.batch_size):
            frames, wave = pieces.draw(index)
            made = generator(frames)
            loss = discrimination(judges(wave), judges(made.detach()))
            _step(optimisers[1], loss)
            mels = spectrum.log_mel(wave), spectrum.log_mel(made)
            with torch.no_grad():
                real = judges(wave)
            _step(optimisers[0], generation(real, judges(made), mels, matching=plan.matching, mel=plan.mel))
            found.append(float((mels[0] - mels[1]).detach().abs().mean()))
            if not math.isfinite(found[-1]):
                raise UserError(f"the mel distance is {found[-1]} at step {len(found)}", where="gan", do="lower `lr`")
            if len(found) == plan.steps:
                break
        for optimiser in optimisers:
            optimiser.param_groups[0]["lr"] *= plan.decay
    return found


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
