"""Masked language modelling: hidden symbols of a text are filled in from the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.common.errors import UserError
from stages.common.media import SPECIAL
from stages.common.registry import part
from stages.encoders.core.encoder import Encoder, TokenBackbone
from stages.encoders.core.inputs import Padded, tensor
from stages.encoders.core.transformer import initialise
from stages.pretrain.core.distributed import balance
from stages.pretrain.core.objective import Batch, Objective
from stages.pretrain.core.precision import full_precision
from stages.views.core import random
from stages.views.core.base import Key

_HIDDEN = 0x6D6C6D  # names the draws of what is hidden
_MASK = SPECIAL.index("[MASK]")


@part
class MaskedLanguageModel(Objective):
    """Devlin et al. 2019, "BERT", sec. 3.1 (task 1) and appendix A.1.

    Of each item a `share` of its own symbols, rounded, one at least, is chosen: `masked` of these become [MASK], `replaced`
    another symbol drawn evenly, the rest stay. Special symbols are never chosen nor drawn. A chosen symbol is foretold by
    softmax(W norm(gelu(dense(h))) + b) over the vocabulary, W being the symbols' embeddings (`tie`) or weights of its own.
    Draws depend on (seed, epoch, item), so each epoch hides other symbols, as in Liu et al. 2019, "RoBERTa".

    Terms: total (cross entropy, mean over the chosen symbols), accuracy. Raises UserError for an encoder without a tokenizer or
    without tokens between its halves, shares that are none, or `tie` where the backbone has no `symbols`.
    """

    def __init__(
        self, encoder: Encoder, *, share: float = 0.15, masked: float = 0.8, replaced: float = 0.1, tie: bool = True
    ) -> None:
        super().__init__()
        where = "objective mlm"
        if not 0 < share < 1 or min(masked, replaced) < 0 or masked + replaced > 1:
            raise UserError(
                f"share {share:g}, masked {masked:g} and replaced {replaced:g} are no shares of a whole", where=where
            )
        if not isinstance(encoder.backbone, TokenBackbone) or not encoder.frontend.contract.get("tokenizer"):
            raise UserError(
                "symbols of a text are hidden, and this encoder has none", where=where, do="use tokens and text_transformer"
            )
        if tie and not isinstance(getattr(encoder.backbone, "symbols", None), nn.Embedding):
            raise UserError("the backbone has no `symbols` to tie the output to", where=where, do="write `tie: false`")
        self.share, self.masked, self.replaced = share, masked, replaced
        self.vocabulary, width = encoder.frontend.vocabulary, encoder.width
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=1e-6))
        self.bias = nn.Parameter(torch.zeros(self.vocabulary))
        self.output = None if tie else nn.Linear(width, self.vocabulary, bias=False)
        initialise(self)

    def forward(self, encoder: Encoder, batch: Batch) -> dict[str, Tensor]:
        x, backbone = batch.views[0], encoder.backbone
        assert isinstance(backbone, TokenBackbone)
        symbols = tensor(x)
        chosen = choose(symbols, batch.key, self.share)
        hidden = hide(symbols, chosen, batch.key, self.vocabulary, self.masked, self.replaced)
        given = Padded(hidden, x.lengths) if isinstance(x, Padded) else hidden
        h = backbone.encode(backbone.embed(encoder.prepared(given)))[-1][chosen]
        weight = backbone.get_parameter("symbols.weight")[: self.vocabulary] if self.output is None else self.output.weight
        logits = F.linear(self.head(h), weight, self.bias)
        target = symbols[chosen]
        accuracy = (logits.argmax(1) == target).float().sum() / max(1, len(target))
        share = balance(len(target))
        return {"total": foretold(logits, target) * share, "accuracy": accuracy * share}


@full_precision
def foretold(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over M hidden symbols of the cross entropy of logits (M, V) and target (M,); 0 where nothing was hidden."""
    return F.cross_entropy(logits, target, reduction="sum") / max(1, len(target))


def choose(symbols: Tensor, key: Key, share: float) -> Tensor:
    """symbols (B, T) -> bool (B, T): of each item's n symbols that are not special, max(1, round(share n)), drawn evenly."""
    open_ = symbols >= len(SPECIAL)
    draw = random.uniform(_streams(key, 0), symbols.shape[1]).masked_fill(~open_, 2.0)
    count = open_.sum(1)
    wanted = torch.minimum((share * count).round().long().clamp_min(1), count)
    rank = draw.argsort(stable=True, dim=1).argsort(1)
    return rank < wanted.unsqueeze(1)


def hide(symbols: Tensor, chosen: Tensor, key: Key, vocabulary: int, masked: float, replaced: float) -> Tensor:
    """symbols (B, T) with [MASK] or another symbol in place of some of the `chosen` (B, T)."""
    length = symbols.shape[1]
    action = random.uniform(_streams(key, 1), length)
    ordinary = vocabulary - len(SPECIAL)
    drawn = len(SPECIAL) + (random.uniform(_streams(key, 2), length) * ordinary).long().clamp_max_(ordinary - 1)
    out = torch.where(chosen & (action < masked), _MASK, symbols)
    return torch.where(chosen & (action >= masked) & (action < masked + replaced), drawn, out)


def _streams(key: Key, purpose: int) -> Tensor:
    return random.stream(key.seed, key.epoch, key.sample, _HIDDEN, purpose)
