"""Masked prediction of hidden units: which cluster a hidden frame belongs to, from the frames around it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool1d, normalize

from stages.common.errors import ContractError, UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Input, Padded, Tokens, tensor
from stages.pretrain.core.clusters import k_means, nearest
from stages.pretrain.core.distributed import balance
from stages.pretrain.core.items import Source
from stages.pretrain.core.objective import Batch, Objective, Still
from stages.pretrain.core.precision import full_precision
from stages.views.core import random

_MASK = 0x6D61736B  # names the draws of masks
_WINDOW = 2  # frames on each side of a slope
_FEW = 1e-6


@part
class MaskedUnits(Objective):
    """HuBERT (Hsu et al. 2021, "HuBERT: self-supervised speech representation learning by masked prediction of hidden units",
    sec. II), over the tokens of any `TokenBackbone` whose x is a spectrogram (B, C, F, T).

    Units: k-means with `clusters` centres (sec. IV-B: 100, then 500) of `source`, each number standardised: `mfcc`, the first
    `cepstra` cosines over the bands with their first and second slopes; `mel`, the bands themselves; with a teacher (`use:
    teacher`) its hidden `layer` at each token, for a second iteration. Fitted before the first step on `frames` frames drawn
    from the items. A token's unit is that of the mean of the frames that it stands for.

    Masks (sec. II-B): each of an item's own tokens begins a span of `span` with probability `start`, one at least; these
    tokens are exchanged for one learnt vector. An item's mask depends on (seed, epoch, item) alone.

    total: share * masked + (1 - share) * unmasked (`share` is alpha), each the mean cross entropy over its tokens of logits
    cos(A o, e_c) / temperature (eq. 3), A a linear map to `code` numbers, e_c a learnt vector of unit c. accuracy: over masked
    tokens; covered: the share of own tokens that are masked.

    Raises ContractError for a backbone without tokens, x that is no spectrogram, or fewer frames than clusters; UserError for
    arguments out of their range, or a batch of several views.
    """

    mean: Tensor
    std: Tensor
    centres: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        clusters: int = 100,
        source: Literal["mfcc", "mel"] = "mfcc",
        cepstra: int = 13,
        layer: int = -1,
        frames: int = 100_000,
        rounds: int = 30,
        start: float = 0.08,
        span: int = 10,
        share: float = 1.0,
        code: int = 256,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(encoder.backbone, TokenBackbone) or len(encoder.frontend.shape) != 3:
            raise ContractError(
                "masked_units needs a backbone of tokens over a spectrogram",
                do="use mel_transformer with the front end log_mel",
            )
        if clusters < 2 or span < 1 or not 0 < start <= 1 or not 0 <= share <= 1 or temperature <= 0 or cepstra < 1:
            raise UserError(
                "clusters is 2 or more, span and cepstra 1 or more, start and share a part of 1, temperature above 0",
                where="objective masked_units",
            )
        self.source, self.cepstra, self.layer, self.sampled, self.rounds = source, cepstra, layer, frames, rounds
        self.start, self.span, self.share, self.temperature = start, span, share, temperature
        self.mask = nn.Parameter(torch.rand(encoder.width))
        self.output = nn.Linear(encoder.width, code)
        self.codes = nn.Parameter(torch.rand(clusters, code))
        self.teacher: Still | None = None
        for name in ("mean", "std", "centres"):
            self.register_buffer(name, torch.empty(0), persistent=False)

    def prepare(self, encoder: Encoder, items: Source, teacher: Encoder | None) -> None:
        self.teacher = None if teacher is None else Still(teacher)
        order = torch.randperm(len(items), device="cpu")
        found: list[Tensor] = []
        have = 0
        with torch.no_grad():
            for part in order.split(256):
                block = items.at(part.to(items.device))
                x = encoder.frontend(block.data, block.lengths)
                tokens = self._backbone(encoder).embed(encoder.prepared(x))
                found.append(self._described(encoder, x, tokens)[_own(tokens)])
                have += len(found[-1])
                if have >= self.sampled:
                    break
            rows = torch.cat(found)[: self.sampled]
            if len(rows) < len(self.codes):
                raise ContractError(
                    f"{len(rows)} frames make no {len(self.codes)} clusters",
                    where="objective masked_units",
                    do="lower `clusters`",
                )
            self.mean, self.std = rows.mean(0), rows.std(0).clamp_min(_FEW)
            self.centres = k_means((rows - self.mean) / self.std, len(self.codes), self.rounds)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        if len(batch.views) != 1:
            raise UserError(f"masked_units takes one view, not {len(batch.views)}", do="choose the views `none`")
        x, backbone = batch.views[0], self._backbone(encoder)
        tokens = backbone.embed(encoder.prepared(x))
        target, own = self.units(encoder, x, tokens), _own(tokens)
        masked = spans(
            random.uniform(random.stream(batch.key.seed, batch.key.epoch, batch.sample, _MASK), own.shape[1]),
            own,
            self.start,
            self.span,
        )
        hidden = torch.where(masked.unsqueeze(-1), self.mask.to(tokens.h.dtype), tokens.h)
        o = self.output(backbone.encode(Tokens(hidden, tokens.own, tokens.position))[-1])
        unmasked = own & ~masked
        share = balance(masked.sum())
        losses = {"masked": prediction(o[masked], self.codes, target[masked], temperature=self.temperature) * share}
        rest = balance(unmasked.sum())
        if self.share < 1 and unmasked.any():
            losses["unmasked"] = prediction(o[unmasked], self.codes, target[unmasked], temperature=self.temperature) * rest
        total = self.share * losses["masked"] + (1 - self.share) * losses.get("unmasked", losses["masked"].new_zeros(()))
        with torch.no_grad():
            guess = (normalize(o[masked].float(), dim=1) @ normalize(self.codes, dim=1).T).argmax(1)
            accuracy = (guess == target[masked]).float().mean() * share
        return {"total": total, **losses, "accuracy": accuracy, "covered": masked.sum() / own.sum()}

    @torch.no_grad()
    def units(self, encoder: Encoder, x: Input, tokens: Tokens) -> Tensor:
        """The unit (B, N) int64 of each of the tokens of x."""
        described = (self._described(encoder, x, tokens) - self.mean) / self.std
        return nearest(described.flatten(0, 1), self.centres)[0].view(described.shape[:2])

    def _backbone(self, encoder: Encoder) -> TokenBackbone:
        assert isinstance(encoder.backbone, TokenBackbone)
        return encoder.backbone

    def _described(self, encoder: Encoder, x: Input, tokens: Tokens) -> Tensor:
        """What units are clusters of, (B, N, E)."""
        count = tokens.h.shape[1]
        if self.teacher is not None:
            teacher: Encoder = self.teacher.module  # type: ignore[assignment]
            h = teacher.hidden(x)[self.layer].float()
            if h.shape[1] != count:
                raise ContractError(f"the teacher has {h.shape[1]} tokens, the encoder {count}", where="objective masked_units")
            return h
        whole = torch.full((len(x),), tensor(x).shape[-1], device=tensor(x).device)
        padded = x if isinstance(x, Padded) else Padded(tensor(x), whole)
        mel = tensor(encoder.standardise(padded)).flatten(1, 2).transpose(1, 2).float()  # (B, T, C F)
        h = mfcc(mel, padded.lengths, self.cepstra) if self.source == "mfcc" else mel
        return averaged(h, padded.own(), count)


def _own(tokens: Tokens) -> Tensor:
    """Which tokens are an item's own, (B, N)."""
    return tokens.h.new_ones(tokens.h.shape[:2], dtype=torch.bool) if tokens.own is None else tokens.own


def spans(uniform: Tensor, own: Tensor, start: float, span: int) -> Tensor:
    """Which tokens are masked (B, N): own (B, N) ones within `span` from a token whose uniform number (B, N) is below `start`.

    An item of which none is takes its own token of the least number.
    """
    uniform = uniform.masked_fill(~own, 2.0)
    begins = (uniform < start).scatter(1, uniform.argmin(1, keepdim=True), True).to(torch.float32)
    reached = max_pool1d(torch.nn.functional.pad(begins, (span - 1, 0)).unsqueeze(1), span, 1).squeeze(1)
    return (reached > 0) & own


@full_precision
def prediction(o: Tensor, codes: Tensor, unit: Tensor, *, temperature: float) -> Tensor:
    """Mean over tokens of -log softmax_c(cos(o, e_c) / temperature)[unit]: o (M, D), codes (K, D), unit (M,). HuBERT, eq. 3."""
    return cross_entropy(normalize(o, dim=1) @ normalize(codes, dim=1).T / temperature, unit)


def averaged(h: Tensor, own: Tensor, count: int) -> Tensor:
    """h (B, T, E) -> (B, count, E): the mean of the own (B, T) frames among the ceil(T / count) that each token stands for."""
    b, frames, dims = h.shape
    stride = -(-frames // count)
    room = count * stride - frames
    kept = torch.nn.functional.pad(h * own.unsqueeze(-1), (0, 0, 0, room)).view(b, count, stride, dims).sum(2)
    rows = torch.nn.functional.pad(own.to(h.dtype), (0, room)).view(b, count, stride).sum(2)
    return kept / rows.clamp_min(1).unsqueeze(-1)


def mfcc(mel: Tensor, lengths: Tensor, count: int) -> Tensor:
    """mel (B, T, F) in logarithms -> (B, T, 3 count): `count` cosines over the bands, their slopes and the slopes of these.

    c_k = sqrt(2 / F) sum_f mel_f cos(pi k (f + 1/2) / F) (Davis and Mermelstein 1980), k from 0; slopes as `slope` has them.
    """
    bands = mel.shape[-1]
    k = torch.arange(min(count, bands), device=mel.device, dtype=mel.dtype)
    f = torch.arange(bands, device=mel.device, dtype=mel.dtype)
    cepstra = mel @ ((math.pi / bands) * (f.unsqueeze(1) + 0.5) * k).cos() * math.sqrt(2 / bands)
    first = slope(cepstra, lengths)
    return torch.cat([cepstra, first, slope(first, lengths)], -1)


def slope(h: Tensor, lengths: Tensor) -> Tensor:
    """h (B, T, E) -> sum_n n (h[t + n] - h[t - n]) / (2 sum_n n^2), n = 1, 2; an item's end frames go on beyond it.

    Young et al., The HTK Book, sec. 5.9.
    """
    steps = torch.arange(h.shape[1], device=h.device)
    last = (lengths - 1).unsqueeze(1)

    def at(offset: int) -> Tensor:
        index = torch.minimum((steps + offset).clamp_min(0).expand(len(h), -1), last)
        return h.gather(1, index.unsqueeze(-1).expand_as(h))

    total = sum((n * (at(n) - at(-n)) for n in range(1, _WINDOW + 1)), torch.zeros_like(h))
    return total / (2 * sum(n * n for n in range(1, _WINDOW + 1)))
