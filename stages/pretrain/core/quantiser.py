"""A learnt product quantiser: each latent becomes one entry of each of several codebooks, chosen by Gumbel-softmax."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from stages.pretrain.core.precision import full_precision

Diversity = Literal["perplexity", "entropy"]


class GumbelQuantiser(nn.Module):
    """z (..., C) -> q (..., dim): the chosen entries of G codebooks of V entries side by side, each dim / G wide.

    Baevski et al. 2020, "wav2vec 2.0", sec. 2 and eq. 1, after Jang et al. 2017, "Gumbel-softmax", and Jegou et al. 2011. A
    linear map gives logits l (..., G, V); the entry is that of the largest l + noise, its gradient that of the entries weighed
    by softmax((l + noise) / temperature), straight through. Without noise: the entry of the largest logit.
    Initial: logits' weights N(0, 1), entries U(0, 1).
    """

    def __init__(self, channels: int, groups: int, entries: int, dim: int) -> None:
        super().__init__()
        self.groups, self.entries = groups, entries
        self.logits = nn.Linear(channels, groups * entries)
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        self.codebooks = nn.Parameter(torch.empty(groups, entries, dim // groups).uniform_())

    def forward(self, z: Tensor, noise: Tensor | None, temperature: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """noise (..., G, V): of Gumbel's distribution. Returns q (..., dim), codes (..., G) int64, logits (..., G, V)."""
        logits = self.logits(z).unflatten(-1, (self.groups, self.entries))
        weights, codes = choose(logits, noise, temperature)
        q = torch.einsum("...gv,gvd->...gd", weights, self.codebooks.to(weights.dtype)).flatten(-2)
        return q, codes, logits


@full_precision
def choose(logits: Tensor, noise: Tensor | None, temperature: float | Tensor) -> tuple[Tensor, Tensor]:
    """One-hot weights (..., V) of the largest logits + noise, and its index (...); the gradient is the softmax's."""
    noisy = logits if noise is None else logits + noise
    soft = (noisy / temperature).softmax(-1)
    codes = noisy.argmax(-1)
    hard = nn.functional.one_hot(codes, logits.shape[-1]).to(soft.dtype)
    return hard - soft.detach() + soft, codes


def gumbel(uniform: Tensor) -> Tensor:
    """-log(-log u) of u in [0, 1): Gumbel's distribution. 0 is taken for half the generator's step."""
    return -(-uniform.clamp_min(2.0**-25).log()).log()


@full_precision
def usage(logits: Tensor, own: Tensor) -> Tensor:
    """Sums (G, V) of softmax(logits (..., G, V)) where `own` (...) is True; no noise, no temperature (sec. 3.2)."""
    return (logits.softmax(-1) * own[..., None, None]).flatten(0, -3).sum(0)


def perplexity(share: Tensor) -> Tensor:
    """Scalar: the sum over codebooks of exp(entropy) of `share` (G, V), each row summing to 1; from G to G V."""
    return torch.special.entr(share).sum(-1).exp().sum()


@full_precision
def diversity(share: Tensor, *, form: Diversity = "perplexity") -> Tensor:
    """The loss that spreads codes, of mean probabilities `share` (G, V) of a batch; least where they are equal.

    entropy: sum over G and V of p log p / (G V) (eq. 4). perplexity: (G V - perplexity) / (G V), the form of the authors' code,
    which is 0 at its least and does not shrink as V grows.
    """
    if form == "entropy":
        return -torch.special.entr(share).sum() / share.numel()
    return 1 - perplexity(share) / share.numel()
