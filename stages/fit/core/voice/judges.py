"""Judges of speech, taught on real recordings alone: what is said, and whose voice it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.fit.core.voice.spectrum import FLOOR, LEVEL, Spectrum

_TINY = 1e-8


class Listener(nn.Module):
    """log-mel bands (B, bands, F), an item's own the first frames (B,) -> embedding (B, dim) and logits (B, classes).

    Three convolutions over time (kernels 5, 3, 3, the last two at steps of 2), mean and deviation over the item's own frames, a
    linear map to the embedding, ReLU, a linear map to the classes: a small x-vector network (Snyder et al. 2018).
    """

    def __init__(self, bands: int, classes: int, *, width: int = 64, dim: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv1d(bands, width, 5, padding=2),
                nn.Conv1d(width, width, 3, 2, padding=1),
                nn.Conv1d(width, width, 3, 2, padding=1),
            ]
        )
        self.embedding, self.output = nn.Linear(2 * width, dim), nn.Linear(dim, classes)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        for i, layer in enumerate(self.layers):
            x = layer(x).relu()
            frames = frames if i == 0 else (frames + 1) // 2
            x = x * (torch.arange(x.shape[-1], device=x.device) < frames.unsqueeze(1)).unsqueeze(1)
        count = frames.clamp_min(1).unsqueeze(1)
        mean = x.sum(2) / count
        std = (x.square().sum(2) / count - mean.square()).clamp_min(_TINY).sqrt()
        h = self.embedding(torch.cat([mean, std], 1))
        return h, self.output(h.relu())


@dataclass(frozen=True)
class Judge:
    """A listener of waveforms, each brought to LEVEL over its own samples, its bands standardised as those of the lessons."""

    network: Listener
    spectrum: Spectrum
    mean: float
    std: float
    centre: Tensor  # (dim,): mean embedding of the lessons

    @staticmethod
    def taught(
        wave: Tensor, samples: Tensor, labels: Tensor, classes: int, spectrum: Spectrum, *, epochs: int = 20, seed: int = 0
    ) -> Judge:
        """wave (I, T), samples (I,), labels (I,) below `classes`: AdamW at 2e-3, cosine decay, batches of 64, cross entropy."""
        bands, frames = _heard(wave, samples, spectrum)
        own = (torch.arange(bands.shape[2], device=bands.device) < frames.unsqueeze(1)).unsqueeze(1).expand_as(bands)
        mean, std = float(bands[own].mean()), float(bands[own].std())
        with torch.random.fork_rng(devices=[wave.device] if wave.is_cuda else []):
            torch.manual_seed(seed)
            network = Listener(spectrum.bands, classes).to(wave.device)
            optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=0.01)
            steps = epochs * -(-len(wave) // 64)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
            given = (bands - mean) / std * own
            for _ in range(epochs):
                for index in torch.randperm(len(wave)).to(wave.device).split(64):
                    loss = F.cross_entropy(network(given[index], frames[index])[1], labels[index])
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    optimiser.step()
                    schedule.step()
        with torch.no_grad():
            centre = network.eval()(given, frames)[0].mean(0)
        return Judge(network, spectrum, mean, std, centre)

    @torch.no_grad()
    def __call__(self, wave: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Waveforms (I, T) -> embeddings (I, dim) less the centre, of length 1, as x-vectors are; logits (I, classes)."""
        found = []
        for index in torch.arange(len(wave), device=wave.device).split(256):
            bands, frames = _heard(wave[index], samples[index], self.spectrum)
            own = (torch.arange(bands.shape[2], device=bands.device) < frames.unsqueeze(1)).unsqueeze(1)
            found.append(self.network((bands - self.mean) / self.std * own, frames))
        return F.normalize(torch.cat([h for h, _ in found]) - self.centre, dim=1), torch.cat([logits for _, logits in found])


def at_level(wave: Tensor, samples: Tensor) -> Tensor:
    """wave (I, T) -> its own samples (I,) at a root mean square of LEVEL, zeros beyond."""
    own = torch.arange(wave.shape[1], device=wave.device) < samples.unsqueeze(1)
    wave = wave * own
    power = wave.square().sum(1, keepdim=True) / samples.unsqueeze(1)
    return LEVEL * wave / (power + _TINY).sqrt()


def similarities(embedding: Tensor, enrolled: Tensor, own: Tensor | None = None) -> Tensor:
    """(Q,): mean cosine of each of `embedding` (Q, dim) with `enrolled` (E, dim), all of length 1.

    own (Q,): the place of each among the enrolled, which is left out of its mean; default: none is one of them.
    """
    cosine = embedding @ enrolled.T
    if own is None:
        return cosine.mean(1)
    return (cosine.sum(1) - cosine.gather(1, own.unsqueeze(1)).squeeze(1)) / (len(enrolled) - 1)


def _heard(wave: Tensor, samples: Tensor, spectrum: Spectrum) -> tuple[Tensor, Tensor]:
    """Log-mel bands (I, bands, F), the floor beyond an item's own; its own frames (I,)."""
    bands = spectrum.log_mel(at_level(wave, samples))
    frames = 1 + samples // spectrum.hop
    own = torch.arange(bands.shape[2], device=bands.device) < frames.unsqueeze(1)
    return torch.where(own.unsqueeze(1), bands, torch.tensor(FLOOR).log().to(bands)), frames
