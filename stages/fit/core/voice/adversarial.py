"""The losses of HiFi-GAN, as functions of what discriminators say."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.fit.core.voice.discriminators import Opinion


def discrimination(real: list[Opinion], made: list[Opinion]) -> Tensor:
    """Sum over discriminators of mean((D(x) - 1)^2) + mean(D(G)^2): least squares (Kong et al. 2020, eq. 1, 7)."""
    return torch.stack([(r.score - 1).square().mean() + m.score.square().mean() for r, m in zip(real, made, strict=True)]).sum()


def deception(made: list[Opinion]) -> Tensor:
    """Sum over discriminators of mean((D(G) - 1)^2) (eq. 2)."""
    return torch.stack([(m.score - 1).square().mean() for m in made]).sum()


def feature_matching(real: list[Opinion], made: list[Opinion]) -> Tensor:
    """Sum over discriminators and layers of mean |D_l(x) - D_l(G)| (eq. 4); no gradient reaches the real ones."""
    terms = [
        (r.detach() - m).abs().mean()
        for one, other in zip(real, made, strict=True)
        for r, m in zip(one.features, other.features, strict=True)
    ]
    return torch.stack(terms).sum()


def mel_distance(real: Tensor, made: Tensor) -> Tensor:
    """mean |real - made| of log-mel bands (B, bands, F) (eq. 3)."""
    return (real - made).abs().mean()


def generation(real: list[Opinion], made: list[Opinion], mels: tuple[Tensor, Tensor], *, matching: float, mel: float) -> Tensor:
    """deception + matching * feature_matching + mel * mel_distance (eq. 5, with its weights 2 and 45)."""
    return deception(made) + matching * feature_matching(real, made) + mel * mel_distance(*mels)
