"""wav2vec 2.0: the context of hidden frames picks their quantised latents among distractors; the quantiser is learnt along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder
from stages.encoders.core.inputs import Tokens
from stages.pretrain.core import quantiser
from stages.pretrain.core.distributed import gather
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision
from stages.pretrain.core.quantiser import Diversity, GumbelQuantiser
from stages.views.core import random
from stages.views.core.spans import check, spans

_WHERE = "objective wav2vec2"
_SPANS, _DISTRACTORS, _GUMBEL = 1, 2, 3  # name an item's draws
_LEAST = 2  # spans of an item, as in the authors' code


@dataclass(frozen=True)
class Draws:
    """What is drawn for a batch. hidden (B, N) bool: the masked frames, L of them at most in an item.

    place (B, L): where they are, in order; real (B, L) bool: False where an item has fewer. other (B, L, K): distractors, as
    positions among an item's L. noise (B, L, G, V): Gumbel's, None in the ablation of continuous targets.
    """

    hidden: Tensor
    place: Tensor
    real: Tensor
    other: Tensor
    noise: Tensor | None


@part
class Wav2Vec2(Objective):
    """Baevski et al. 2020, "wav2vec 2.0: A framework for self-supervised learning of speech representations", sec. 3.

    Spans of frames give way to a learned vector before the transformer; its output c_t at each masked frame, mapped to
    `final_dim`, is to find q_t, the quantised latent of that frame without mask, among `distractors` from other masked frames
    of the same item: contrastive (eq. 3), over masked frames. diversity (eq. 4, see core/quantiser.py) spreads the codes;
    penalty: the mean square of the feature encoder's outputs. total = contrastive + diversity_weight diversity +
    penalty_weight penalty. The feature encoder's gradient is scaled by `gradient_scale`.

    Gumbel's temperature falls from temperatures[0] by `decay` a step to temperatures[1]. targets `continuous`: an ablation
    without quantiser (table 4). dropout: of the quantiser's input. Logged besides: accuracy, the share of frames whose own
    target is nearest (distractors of the same codes left out); prob_perplexity, of the batch's mean softmax, summed over the
    codebooks (G to G V); code_perplexity, of the codes really chosen; dead, the share of entries that nothing chose.
    Raises UserError for arguments out of range or a backbone without latents.
    """

    step: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        probability: float = 0.065,
        span: int = 10,
        distractors: int = 100,
        similarity_temperature: float = 0.1,
        groups: int = 2,
        entries: int = 320,
        code_dim: int = 256,
        final_dim: int = 256,
        temperatures: tuple[float, float] = (2.0, 0.5),
        decay: float = 0.999995,
        diversity_weight: float = 0.1,
        diversity: Diversity = "perplexity",
        penalty_weight: float = 10.0,
        gradient_scale: float = 0.1,
        dropout: float = 0.1,
        targets: Literal["quantised", "continuous"] = "quantised",
    ) -> None:
        super().__init__()
        backbone = encoder.backbone
        if not all(hasattr(backbone, name) for name in ("latents", "feature_norm", "project", "hide", "encode")):
            raise UserError(
                f"{type(backbone).__name__} has no latents before its transformer", where=_WHERE, do="use backbone wav2vec2"
            )
        check(probability, span, _WHERE)
        if min(groups, entries, distractors, span) < 1 or code_dim % groups:
            raise UserError(
                f"{groups} codebooks of {entries} entries, {distractors} distractors: 1 at least; code_dim divides by groups",
                where=_WHERE,
            )
        if min(*temperatures, similarity_temperature) <= 0 or not 0 < decay <= 1 or not 0 <= dropout < 1:
            raise UserError("temperatures lie above 0, decay above 0 and up to 1, dropout in [0, 1)", where=_WHERE)
        self.probability, self.span, self.distractors = probability, span, distractors
        self.similarity_temperature, self.temperatures, self.decay = similarity_temperature, temperatures, decay
        self.diversity_weight, self.diversity, self.penalty_weight = diversity_weight, diversity, penalty_weight
        self.gradient_scale, self.dropout = gradient_scale, dropout
        channels = cast(Any, backbone).feature_norm.weight.numel()
        self.quantiser = GumbelQuantiser(channels, groups, entries, code_dim) if targets == "quantised" else None
        self.target = nn.Linear(code_dim if self.quantiser else channels, final_dim)
        self.context = nn.Linear(encoder.width, final_dim)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    @property
    def temperature(self) -> Tensor:
        """Gumbel's temperature at this step, on the device: reading it would make the device wait."""
        return (self.temperatures[0] * self.decay**self.step).clamp_min(self.temperatures[1]).float()

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        x = encoder.prepared(batch.views[0])
        latents = cast(Any, encoder.backbone).latents(x)
        own = (
            latents.own
            if latents.own is not None
            else torch.ones(latents.h.shape[:2], dtype=torch.bool, device=latents.h.device)
        )
        return self.terms(encoder, Tokens(latents.h, own), self.draw(own, batch))

    def draw(self, own: Tensor, batch: Batch) -> Draws:
        """Masks, distractors and noise for items whose own frames are `own` (B, N); they follow from the batch's key alone."""

        def state(*words: int | Tensor) -> Tensor:
            return random.stream(batch.key.seed, batch.key.epoch, *words)

        sample = batch.key.sample
        hidden = spans(state(sample, _SPANS), own, probability=self.probability, length=self.span, least=_LEAST)
        count = hidden.sum(1)
        most = max(int(count.max()), 1)
        place = (~hidden).long().argsort(dim=1, stable=True)[:, :most]
        real = torch.arange(most, device=own.device) < count.unsqueeze(1)
        each = state(sample.unsqueeze(1), place)  # a stream for each masked frame
        uniform = random.uniform(random.stream(each, _DISTRACTORS), self.distractors)
        other = (uniform * (count - 1).clamp_min(1)[:, None, None]).long()
        other = other + (other >= torch.arange(most, device=own.device)[:, None])  # all but the frame itself
        noise = None
        if self.quantiser is not None:
            shape = (self.quantiser.groups, self.quantiser.entries)
            drawn = random.uniform(random.stream(each, _GUMBEL), shape[0] * shape[1])
            noise = quantiser.gumbel(drawn).unflatten(-1, shape)
        return Draws(hidden, place, real & (count > 1).unsqueeze(1), other.clamp_max(most - 1), noise)

    def terms(self, encoder: Encoder, latents: Tokens, draws: Draws) -> dict[str, Tensor]:
        """The loss of latents (B, N, C), all of whose `own` is given."""
        backbone = cast(Any, encoder.backbone)
        z = cast(Tensor, _Scaled.apply(latents.h, self.gradient_scale))
        normed = backbone.feature_norm(z)
        tokens = backbone.hide(Tokens(backbone.project(normed), latents.own), draws.hidden)
        c = self.context(Tokens(backbone.encode(tokens)[-1]).at(draws.place).h)
        target = Tokens(F.dropout(normed, self.dropout, self.training)).at(draws.place).h
        total_real = gather(draws.real.sum().view(1)).sum().clamp_min(1)
        found: dict[str, Tensor] = {}
        same = None
        if self.quantiser is not None:
            q, codes, logits = self.quantiser(target, draws.noise, self.temperature)
            found = self._use(codes, logits, draws.real, total_real)
            same = (codes.unsqueeze(2) == codes.unsqueeze(1)).all(-1)
            target = q
        losses, right = contrastive(c, self.target(target), draws.other, same, temperature=self.similarity_temperature)
        shares = gather(torch.stack([losses, right]).mul(draws.real).flatten(1).sum(1)[None]).sum(0) / total_real
        penalty = mean_square(z, cast(Tensor, latents.own))
        total = shares[0] + self.penalty_weight * penalty
        if "diversity" in found:
            total = total + self.diversity_weight * found["diversity"]
        return {"total": total, "contrastive": shares[0], "penalty": penalty, "accuracy": shares[1], **found}

    def _use(self, codes: Tensor, logits: Tensor, real: Tensor, total: Tensor) -> dict[str, Tensor]:
        """How the batch's masked frames use the codebooks: codes (B, L, G), logits (B, L, G, V)."""
        soft = gather(quantiser.usage(logits, real)[None]).sum(0) / total
        hard = F.one_hot(codes, logits.shape[-1]) * real[..., None, None]
        chosen = gather(hard.flatten(0, 1).sum(0)[None].to(soft.dtype)).sum(0) / total
        return {
            "diversity": quantiser.diversity(soft, form=self.diversity),
            "prob_perplexity": quantiser.perplexity(soft.detach()),
            "code_perplexity": quantiser.perplexity(chosen),
            "dead": (chosen == 0).to(soft.dtype).mean(),
            "temperature": self.temperature,
        }

    def after_step(self, encoder: Encoder, step: int, steps: int) -> None:
        self.step.fill_(step)


class _Scaled(torch.autograd.Function):
    """z as it is; its gradient times `scale`."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.scale, None


@full_precision
def contrastive(
    c: Tensor, q: Tensor, other: Tensor, same: Tensor | None = None, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Eq. 3 for contexts c and targets q (B, L, D), the distractors of target t at other (B, L, K) among the item's L.

    -log exp(cos(c_t, q_t) / T) / sum over q_t and its distractors of exp(cos(c_t, q) / T), (B, L). A distractor of the same
    codes as q_t, same (B, L, L) bool, is left out. Also (B, L): 1 where no distractor comes as near as q_t.
    """
    similarity = F.normalize(c, dim=-1) @ F.normalize(q, dim=-1).transpose(1, 2) / temperature  # (B, L, L)
    if same is not None:
        alone = torch.eye(similarity.shape[1], dtype=torch.bool, device=c.device)
        similarity = similarity.masked_fill(same & ~alone, float("-inf"))
    logits = torch.cat([similarity.diagonal(dim1=1, dim2=2).unsqueeze(2), similarity.gather(2, other)], 2)
    losses = F.cross_entropy(logits.flatten(0, 1), other.new_zeros(other.shape[:2].numel()), reduction="none")
    right = (logits[..., 0] > logits[..., 1:].amax(2)).to(losses.dtype)
    return losses.view(other.shape[:2]), right


@full_precision
def mean_square(z: Tensor, own: Tensor) -> Tensor:
    """Scalar: the mean of z^2, z (B, N, C), over each item's own frames, of all ranks."""
    found = gather(torch.stack([(z.square().mean(2) * own).sum(), own.sum().to(z.dtype)])[None]).sum(0)
    return found[0] / found[1]
